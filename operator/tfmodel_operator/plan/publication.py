"""How a step is published: in the ConfigMap that pods have mounted, or in one for this content alone that comes with new pods."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import kinds, spec
from tfmodel_operator.plan import configmap, metadata, mounted, platform
from tfmodel_operator.plan.progress import Live, find, mounted_config
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout.step import Pods, Step

KEPT = 3
"""ConfigMaps for one content alone that stay: as many as the Deployment keeps old ReplicaSets."""


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """What pods are given.

    Args:
        objects: The ConfigMaps to apply; none where it isn't known what is published.
        name: Of the one that pods mount.
        fixed: It is for one content alone.
        hash: Of its content; ``""``: not known.
        kept: Kind and name of ConfigMaps of earlier contents that stay.
    """

    objects: tuple[dict[str, Any], ...]
    name: str
    fixed: bool
    hash: str
    kept: frozenset[tuple[str, str]]


def publication(model: spec.TFModel, step: Step, live: Live) -> Publication:
    """Return how ``step`` of ``model``, which has its server for itself, is published."""
    name = metadata.config_name(model)
    before = mounted.config_name(live.deployment["spec"]["template"]) if live.deployment else ""
    if step.config is None:
        there = {found["metadata"]["name"] for found in live.configmaps}
        return Publication((), before or name, before not in {"", name}, "", _kept(there))
    model = dataclasses.replace(model, source=_source(model, step, live))
    records, is_fixed = {model.model_name: step.record}, _is_fixed(model, step, step.config, live)
    # In a ConfigMap of its own nothing is watched: it would be another one, with other pods, for each version that is.
    config = dataclasses.replace(step.config, watched=()) if is_fixed else step.config
    files = configmap.data([configmap.share(model, config, is_fixed=is_fixed)])
    content = configmap.content_hash(files)
    if not is_fixed:
        return Publication((configmap.configmap(model, files, records),), name, False, content, _earlier(live, name, before))
    # Pods that still have the changing one mounted must not see what is for others.
    fixed = configmap.fixed(model, files)
    objects = (configmap.configmap(model, _for_old_pods(model, step, live) or files, records), fixed)
    own = fixed["metadata"]["name"]
    return Publication(objects, own, True, content, _earlier(live, name, before, own))


def _is_fixed(model: spec.TFModel, step: Step, config: configs.Config, live: Live) -> bool:
    """Tell whether ``step`` needs a ConfigMap of its own, because the planner says so or because the files are others.

    Pods that serve from one claim, or path, couldn't serve again after a restart by a config that names another: they keep theirs
    until they go, which they never do if the other isn't there. If spec asks for theirs again, the pods that have it are right.
    """
    there = configmap.read(find(live, metadata.config_name(model)))
    if there is None or not _has_mounted(live, metadata.config_name(model)):
        return step.template.immutable
    if configmap.published_source(there, model.model_name) not in {None, model.source}:
        return step.template.immutable or step.promoted is not None
    return step.template.immutable and there.entries != configmap.share(model, config).entries


def _for_old_pods(model: spec.TFModel, step: Step, live: Live) -> Mapping[str, str] | None:
    """Return what the ConfigMap that is changed in place has while new pods have another one; None: it isn't there.

    What was to be changed in place still is, with the files that those pods have.
    """
    found = find(live, metadata.config_name(model))
    source = configmap.published_source(configmap.read(found), model.model_name)
    if source and step.config is not None and not step.template.immutable:
        return configmap.data([configmap.share(dataclasses.replace(model, source=source), step.config)])
    return (found or {}).get("data")


def _source(model: spec.TFModel, step: Step, live: Live) -> spec.Claim:
    """Return the files that go with the template of ``step``."""
    if step.template.pods is Pods.DESIRED:
        return model.source
    content = configmap.read(mounted_config(live, metadata.config_name(model)))
    return configmap.published_source(content, model.model_name) or model.source


def _has_mounted(live: Live, changing: str) -> bool:
    """Tell whether any pod has the ConfigMap that is changed in place, or will have it."""
    if live.deployment is not None and mounted.config_name(live.deployment["spec"]["template"]) == changing:
        return True
    return any(platform.hash_of(pod) and not mounted.fixed_name(pod) for pod in live.pods if not mounted.is_going(pod))


def _earlier(live: Live, changing: str, *used: str) -> frozenset[tuple[str, str]]:
    """Return the ConfigMaps of earlier contents that stay: those in use, and the newest ones."""
    in_use = {*used, *(mounted.fixed_name(pod) for pod in live.pods)}
    fixed = [found for found in live.configmaps if found.get("immutable") and found["metadata"]["name"] != changing]
    newest = sorted(fixed, key=lambda found: (found["metadata"]["name"] in in_use, _made_at(found)), reverse=True)
    names = [str(found["metadata"]["name"]) for found in newest]
    return _kept(name for place, name in enumerate(names) if place < KEPT or name in in_use)


def _made_at(found: Mapping[str, Any]) -> str:
    return str(found["metadata"].get("creationTimestamp", ""))


def _kept(names: Iterable[str]) -> frozenset[tuple[str, str]]:
    return frozenset((kinds.CONFIG_MAP.name, name) for name in names)
