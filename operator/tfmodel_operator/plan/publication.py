"""How a step is published: in the ConfigMap that pods have mounted, or in one for this content alone that comes with new pods."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import kinds, spec
from tfmodel_operator.plan import configmap, metadata, mounted
from tfmodel_operator.plan.progress import Live, find
from tfmodel_operator.plan.rollout.step import Step

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
    files = configmap.data([configmap.share(model, step.config, is_fixed=step.template.immutable)])
    records = {model.model_name: step.record}
    content = configmap.content_hash(files)
    if not step.template.immutable:
        return Publication((configmap.configmap(model, files, records),), name, False, content, _earlier(live, name, before))
    # Pods that still have the changing one mounted must not see what is for others.
    unchanged = (find(live, name) or {}).get("data") or files
    fixed = configmap.fixed(model, files)
    objects = (configmap.configmap(model, unchanged, records), fixed)
    own = fixed["metadata"]["name"]
    return Publication(objects, own, True, content, _earlier(live, name, before, own))


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
