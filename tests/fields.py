"""Every field of spec, and what changes with it.

A spec that has all fields (`tests/golden/full`) is changed in one leaf of the schema after another; what is then planned is
compared with what was planned before.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests import schema
from tests.unit.operator.makers import NOW, PLATFORM, Live
from tfmodel_operator.api import rollout_spec, spec
from tfmodel_operator.plan import plan, progress

FULL = Path(__file__).resolve().parent / "golden/full/tfmodel.yaml"

LATEST = {"versionPolicy": {"latest": {"numVersions": 2}}, "versionLabels": None}
BATCHING = "server.batching"
BASES: dict[str, dict[str, Any]] = {
    "versionPolicy.latest.numVersions": LATEST,
    "versionPolicy.all": LATEST,
    "warmup.policy": {"warmup.minRecords": 0},
    f"{BATCHING}.maxBatchSize": {f"{BATCHING}.allowedBatchSizes": None},
}
"""What must be otherwise than in the full spec, for a leaf to be there or free to change; None takes a field away."""

SHARING = frozenset({"serverRef.name", "serverSelector.matchLabels", "memory"})
"""Leaves that the objects of a TFModel with servers of its own don't follow from."""

OTHER_VALUES: dict[str, Any] = {
    "modelName": "other",
    "source.persistentVolumeClaim.claimName": "other",
    "server.image": "tensorflow/serving:2.14.1",
    "server.accelerator.resource": "amd.com/gpu",
    "server.accelerator.memoryFraction": "0.5",
    f"{BATCHING}.allowedBatchSizes": [1, 16, 32],
    "server.resources.limits": {"cpu": "2", "memory": "4Gi"},
    "server.resources.requests": {"cpu": "1", "memory": "1Gi"},
    "server.agent.resources.limits": {"memory": "400Mi"},
    "server.agent.resources.requests": {"cpu": "30m"},
    "server.extraArgs": ["--num_tflite_pools=3"],
    "server.pod.labels": {"team": "other"},
    "server.pod.annotations": {"example.com/owner": "other"},
    "server.pod.nodeSelector": {"example.com/a": "b"},
    "server.pod.env[].valueFrom.fieldRef.fieldPath": "status.hostIP",
    "server.pod.env[].valueFrom.resourceFieldRef.resource": "limits.memory",
    "server.service.annotations": {"example.com/a": "b"},
    "server.networkPolicy.from[].ipBlock.cidr": "10.0.0.0/9",
    "server.networkPolicy.from[].ipBlock.except": ["10.2.0.0/16"],
    "versionPolicy.specific.versions": [3, 4, 5],
    "versionLabels": {"stable": 4},
    "rollout.comparison.maxRelativeDifference": "0.5",
    "rollout.strategy": "InPlace",
}
"""Where the rule for the type gives nothing valid."""


@functools.cache
def leaves() -> dict[str, schema.Schema]:
    """Return every leaf of spec by its path, but for those of models that share a server."""
    every = schema.leaves(schema.schema()["properties"]["spec"])
    return {path: leaf for path, leaf in every if path not in SHARING}


@functools.cache
def full() -> dict[str, Any]:
    """Return the TFModel that has all fields, as the API server gives it back."""
    plain = json.loads(json.dumps(yaml.safe_load(FULL.read_text())))  # what YAML aliases share is shared no more
    return schema.defaulted(plain)


def base(leaf: str) -> dict[str, Any]:
    """Return a TFModel that has ``leaf``."""
    body = copy.deepcopy(full())
    for path, value in BASES.get(leaf, {}).items():
        holder, name = find(body["spec"], path)
        if value is None:
            holder.pop(name, None)
        else:
            holder[name] = copy.deepcopy(value)
    if leaf == "versionPolicy.all":
        body["spec"]["versionPolicy"] = {"all": {}}
    return body


def changed(leaf: str) -> Iterator[dict[str, Any]]:
    """Yield TFModels that differ from :func:`base` in ``leaf``: one for each other choice, where there are choices."""
    for value in other_values(leaf):
        body = copy.deepcopy(base(leaf))
        holder, name = find(body["spec"], leaf)
        holder[name] = value
        if leaf == "versionPolicy.all":
            body["spec"]["versionPolicy"] = {"latest": {"numVersions": 1}}
        yield body


def other_values(leaf: str) -> list[Any]:
    """Return values for ``leaf`` that are valid and not the one in :func:`base`."""
    part = leaves()[leaf]
    holder, name = find(base(leaf)["spec"], leaf)
    if leaf in OTHER_VALUES:
        return [OTHER_VALUES[leaf]]
    if "enum" in part:
        return [value for value in part["enum"] if value != holder[name]]
    return [_another(holder[name], part)]


def _another(value: Any, part: schema.Schema) -> Any:
    match part.get("type"):
        case "boolean":
            return not value
        case "integer":
            return value - 1 if value == part.get("maximum") else value + 1
        case "array":
            return [*value, _another(value[-1], part["items"])]
        case "object":
            return {name: _another(member, part.get("additionalProperties", {})) for name, member in value.items()}
    return value + 1 if isinstance(value, int) else f"{value}0" if value[:1].isdigit() else f"{value}x"


def find(holder: Any, path: str) -> tuple[dict[str, Any], str]:
    """Return the object that has the last member of ``path``, and that member's name; of lists, the first item that has it."""
    first, dot, rest = path.partition(".")
    if not dot:
        return holder, first
    if first.endswith("[]"):
        for item in holder[first.removesuffix("[]")]:
            try:
                found, name = find(item, rest)
            except KeyError:
                continue
            if name in found:
                return found, name
        raise KeyError(path)
    return find(holder[first], rest)


@dataclasses.dataclass(frozen=True)
class Planned:
    """What follows from a spec: objects now, and what is done when a version comes."""

    plan: plan.Plan
    rollout: tuple[rollout_spec.Rollout, Mapping[str, int] | None]


def planned(body: dict[str, Any]) -> Planned:
    """Return what follows from a TFModel of which nothing exists yet."""
    model = spec.parse(copy.deepcopy(body))
    desired = progress.desired(model)
    return Planned(plan.make_plan(model, PLATFORM, Live(), NOW), (desired.rollout, desired.labels))


def differences(before: Planned, after: Planned) -> set[str]:
    """Name what differs: objects, of which ``pods`` is the Deployment's template and ``Deployment`` the rest; ``rollout``."""
    old, new = _parts(before), _parts(after)
    return {name for name in old | new if old.get(name) != new.get(name)}


def _parts(made: Planned) -> dict[str, Any]:
    parts: dict[str, Any] = {"rollout": made.rollout}
    for manifest in copy.deepcopy(made.plan.objects):
        headless = manifest["spec"].get("clusterIP") == "None" if manifest["kind"] == "Service" else False
        parts["Service NAME-headless" if headless else manifest["kind"]] = manifest
    parts["pods"] = parts["Deployment"]["spec"].pop("template")
    return parts
