"""The status object of a TFModelServer: its pods, and how many models it holds. What each model does is that model's status."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import conditions, labels
from tfmodel_operator.api.conditions import Finding, Type
from tfmodel_operator.api.facts import ServerFacts
from tfmodel_operator.api.spec import ModelServer
from tfmodel_operator.status import checks


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a server holds.

    Args:
        joined, refused: Numbers of TFModels.
        loaded: Of the joined, those that every ready pod answers for.
        unknown: Joined models whose memory isn't known.
        budget: As people write it; ``""``: there is none.
        estimated: The same of what the models take.
    """

    joined: int = 0
    loaded: int = 0
    refused: int = 0
    config_bytes: int = 0
    disk_bytes: int = 0
    estimated_bytes: int = 0
    unknown: int = 0
    budget: str = ""
    estimated: str = ""


def status(server: ModelServer, seen: ServerFacts, load: Load, before: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return the whole status; equal facts give an equal one, apart from the times of conditions that changed.

    Args:
        before: The stored status.
        now: RFC 3339, UTC.
    """
    made = seen.deployment
    return {
        "observedGeneration": server.generation,
        "conditions": conditions.merge(before.get("conditions", []), findings(seen, load), server.generation, now),
        "models": {
            "joined": load.joined,
            "loaded": load.loaded,
            "refused": load.refused,
            "summary": f"{load.loaded}/{load.joined}",
        },
        "memory": {
            "diskBytes": load.disk_bytes,
            "estimatedBytes": load.estimated_bytes,
            "unknown": load.unknown,
            "summary": f"{load.estimated} of {load.budget}" if load.budget else load.estimated,
        },
        "configBytes": load.config_bytes,
        "pods": f"{made.ready}/{made.wanted}",
        "readyReplicas": made.ready,
        "image": made.image,
        "accelerator": made.accelerator,
        "replicas": made.replicas,
        "selector": f"{labels.SERVER}={server.server_label}",
    }


def invalid(before: Mapping[str, Any], finding: Finding, generation: int, now: str) -> dict[str, Any]:
    """Return the status of a TFModelServer whose spec can't be acted on: what serves goes on serving."""
    found = {Type.READY: finding, Type.CONFIG_VALID: finding, Type.STALLED: dataclasses.replace(finding, status="True")}
    stored = before.get("conditions", [])
    kept = [condition for condition in stored if condition["type"] not in {*found, Type.RECONCILING}]
    return {**before, "observedGeneration": generation, "conditions": conditions.merge(stored, found, generation, now) + kept}


def findings(seen: ServerFacts, load: Load) -> dict[Type, Finding]:
    """Return the finding for every condition that is present."""
    pods = len(seen.pods)
    fine = f"{pods} pod{'s' if pods != 1 else ''} ready, {load.loaded} of {load.joined} models loaded"
    ready, stalled = checks.ready(seen, conditions.as_desired(fine), checks.SERVER_READY)
    result = {
        Type.READY: ready,
        Type.CONFIG_VALID: checks.first(checks.CONFIG_VALID, seen, conditions.as_desired("all objects are accepted")),
        Type.PODS_READY: checks.first(checks.PODS_READY, seen, conditions.as_desired("all pods are ready")),
    }
    if ready.status != "True":
        result[Type.STALLED if stalled else Type.RECONCILING] = dataclasses.replace(ready, status="True")
    return {kind: _worded(finding) for kind, finding in result.items()}


def _worded(finding: Finding) -> Finding:
    """Name the fields as a TFModelServer has them: checks speak of a TFModel's ``spec.server``."""
    return dataclasses.replace(finding, message=finding.message.replace("spec.server.", "spec."))
