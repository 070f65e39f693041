"""What `status` says of a rollout, so that `kubectl get tfm -w` reads like `kubectl rollout status`."""

from __future__ import annotations

import datetime
from typing import Any

from tfmodel_operator.plan.rollout import fleet
from tfmodel_operator.plan.rollout.facts import Facts
from tfmodel_operator.plan.rollout.step import Step
from tfmodel_serving import model_config, state

STEP_CHARACTERS = 1024


def status(step: Step, facts: Facts, model: str) -> dict[str, Any]:
    """Return the members of `status` that a rollout writes; what isn't so is absent.

    `promotedVersion` is what requests without a version get. While pods differ it is the one that has been promoted, and every
    other version that a client may get is named too: by `candidateVersion`, or in `rollout.step`.
    """
    answers = {pod.name: max(found) for pod in facts.pods if pod.ready and (found := fleet.available(pod, model))}
    promoted = next(iter(answers.values())) if len(set(answers.values())) == 1 and _all_say(facts) else step.promoted
    rollout = {"phase": str(step.phase), "step": _text(step, answers, promoted)}
    if step.record.candidate is not None:
        rollout["startedAt"] = _time(step.record.candidate.started)
    elif step.record.bake is not None:
        rollout["startedAt"] = _time(step.record.bake.since)
    versions = {"promotedVersion": promoted, "candidateVersion": step.candidate}
    return {"rollout": rollout, **{name: version for name, version in versions.items() if version is not None}}


def paths(step: Step, model: str) -> dict[str, str]:
    """Return the REST paths beyond the model's own: of each label, by its name, and of a candidate on trial."""
    if step.config is None:
        return {}
    found = {label: f"/v1/models/{model}/labels/{label}" for label in sorted(step.config.labels)}
    if step.config.on_trial:
        private = model_config.candidate_name(model)
        found[private] = f"/v1/models/{private}"
    return found


def _all_say(facts: Facts) -> bool:
    return all(pod.report is not None for pod in facts.pods if pod.ready)


def _text(step: Step, answers: dict[str, int], promoted: int | None) -> str:
    """Return the step's reason, and which pod answers with a version that nothing else in status names."""
    others = [(version, pod) for pod, version in answers.items() if version not in {promoted, step.candidate}]
    said = "".join(f"; pod {pod} answers with version {version}" for version, pod in sorted(dict(others).items()))
    return state.clean(step.reason, STEP_CHARACTERS - len(said)) + said


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
