"""A member of a shared server whose spec names another place for its files: another claim, or another path.

What serves must be able to serve again after a restart, so the config goes on naming its files until those in the other place
have been loaded: beside them, under a private name, in every pod. A place that was mistyped, or is still empty, is never taken
up. A model that serves nothing yet has nothing to lose, and is given what spec says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfmodel_operator.api import facts, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.plan import configmap, join
from tfmodel_operator.plan.progress import Relocation
from tfmodel_operator.plan.rollout.step import Step
from tfmodel_serving import model_config, state


def relocation(
    model: spec.TFModel,
    published: Mapping[str, Any] | None,
    content: configmap.Content | None,
    mounted: Collection[str],
    pods: Sequence[facts.PodFacts],
    step: Step,
) -> Relocation | None:
    """Return where the files of ``model`` stay for now; None: they are where spec says, or may be.

    Args:
        published: The live ConfigMap.
        content: What it says.
        mounted: The claims in the live Deployment.
        pods: What they say of this model.
        step: The next of its rollout.
    """
    before = configmap.published_source(content, model.model_name)
    if before is None or before == model.source or before.claim_name not in mounted:
        return None  # where its claim isn't mounted, no pod has ever had its files
    if join.incumbents(published).get(model.name) != model.uid:
        return None  # they are another TFModel's, of a name that both have
    if not _is_mounted(model, pods):
        return Relocation(before, is_tried=False)
    serves = step.config is None or step.config.versions
    if not serves or _is_loaded(model, pods):
        return None
    return Relocation(before, is_tried=not model.rollout.paused)


def _is_mounted(model: spec.TFModel, pods: Sequence[facts.PodFacts]) -> bool:
    return all(model.source.claim_name in pod.claims for pod in pods)


def _is_loaded(model: spec.TFModel, pods: Sequence[facts.PodFacts]) -> bool:
    found = [_tried(model, pod) for pod in pods if pod.ready]
    return bool(found) and all(one is not None and one.available for one in found)


def _tried(model: spec.TFModel, pod: facts.PodFacts) -> state.ModelState | None:
    return pod.agent.model(model_config.next_name(model.model_name)) if pod.agent is not None else None


def finding(model: spec.TFModel, stays: Relocation, pods: Sequence[facts.PodFacts]) -> Finding | None:
    """Return why the files are not where spec says; None: for lack of its claim in some pod, which others tell."""
    if not _is_mounted(model, pods):
        return None
    goes_on = f"; what is on {stays.stays} goes on serving"
    if not stays.is_tried:
        return Finding("False", Reason.PAUSED, f"the rollout is paused; then the files on {model.source} are tried{goes_on}")
    told = [(pod.name, one) for pod in pods if pod.ready and (one := _tried(model, pod)) and not one.available]
    if not told:
        return Finding("False", Reason.ROLLING_OUT, f"looking for the files on {model.source}{goes_on}")
    name, found = told[0]
    reason, said = _lacks(found)
    return Finding("False", reason, f"pod {name}: {model.source}: {said}{goes_on}")


def _lacks(found: state.ModelState) -> tuple[Reason, str]:
    """Return why nothing is AVAILABLE of what was found there."""
    if found.source_message:
        return Reason.SOURCE_UNAVAILABLE, found.source_message
    newest = next((one for one in found.versions if one.wanted), next(iter(found.versions), None))
    if newest is None:
        return Reason.NO_VERSION_FOUND, "it holds no version directory; add one named by its number, such as 1"
    if newest.failed:
        return Reason.MODEL_LOAD_FAILED, f"version {newest.version} {newest.message}"
    if newest.verdict == "Missing":
        return Reason.NO_VERSION_FOUND, f"version {newest.version} is not there"
    if newest.verdict == "Rejected":
        return Reason.VERSION_REJECTED, f"version {newest.version}: {newest.message}"
    return Reason.ROLLING_OUT, f"version {newest.version} is {newest.state or newest.message or 'about to load'}"
