"""The status of a TFModel that shares a server: about its own versions, on the pods that serve.

Pods that are only starting are the server's concern: the others serve meanwhile, and go on counting as all there are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import conditions
from tfmodel_operator.api.conditions import Finding, Reason, Severity, Type
from tfmodel_operator.api.facts import Facts, PodFacts
from tfmodel_operator.status import checks, status, versions


def serving(pods: Iterable[PodFacts]) -> tuple[PodFacts, ...]:
    """Return the pods that a model is judged by: those that serve, and all if none does."""
    found = tuple(pods)
    return tuple(pod for pod in found if pod.ready) or found


def of_joined(
    seen: Facts, home: Iterable[PodFacts], server: str, before: Mapping[str, Any], endpoints: Mapping[str, str], now: str
) -> dict[str, Any]:
    """Return the whole status.

    Args:
        seen: Of the pods on the server that it asks for, as :func:`serving` gives them.
        home: The pods that its Service selects: other ones while it moves.
        server: Name of the TFModelServer; ``""``: none is chosen yet.
        before: The stored status.
        now: RFC 3339, UTC.
    """
    model, made = seen.model, seen.deployment
    answering = sum(status.serves(pod, model.model_name) is not None for pod in seen.pods if pod.ready)
    result: dict[str, Any] = {
        "observedGeneration": model.generation,
        "conditions": conditions.merge(before.get("conditions", []), _findings(seen, tuple(home)), model.generation, now),
        "server": {
            "name": server,
            "kind": "Shared",
            "replicas": made.replicas,
            "readyReplicas": answering,
            "pods": f"{answering}/{made.wanted}",
            "image": made.image,
            "accelerator": made.accelerator,
        },
        "endpoints": dict(endpoints),
    }
    if known := versions.entries(seen):
        result["versions"] = known
    if (promoted := status.promoted_version(seen)) is not None:
        result["promotedVersion"] = promoted
    return {**result, **seen.rollout.says}


def _findings(seen: Facts, home: tuple[PodFacts, ...]) -> dict[Type, Finding]:
    ready = checks.first(checks.JOINED_READY, seen, conditions.as_desired(_ready_message(seen)))
    result = {
        Type.READY: ready,
        Type.AVAILABLE: status.available(home, seen.model.model_name, ready),
        Type.CONFIG_VALID: checks.first(checks.CONFIG_VALID, seen, conditions.as_desired("the server has taken it in")),
        Type.VERSIONS_VERIFIED: checks.first(checks.JOINED_VERIFIED, seen, _unless(seen, "every wanted version is complete")),
        Type.PODS_READY: checks.first(checks.JOINED_PODS, seen, conditions.as_desired("the server's pods serve")),
        Type.MODEL_AVAILABLE: checks.first(checks.JOINED_AVAILABLE, seen, _unless(seen, "every wanted version is AVAILABLE")),
    }
    if ready.status != "True":
        stalled = ready.reason.severity is Severity.STALLED  # that the Deployment is late is the server's affair
        result[Type.STALLED if stalled else Type.RECONCILING] = dataclasses.replace(ready, status="True")
    return result


def _unless(seen: Facts, message: str) -> Finding:
    """Return that all is well, or that nothing is known."""
    if seen.pods and all(pod.agent for pod in seen.pods) and seen.config_problem is None:
        return conditions.as_desired(message)
    return Finding("Unknown", Reason.WAITING_FOR_PODS, "no pod of the server could tell yet")


def _ready_message(seen: Facts) -> str:
    names = ", ".join(str(entry["version"]) for entry in reversed(versions.entries(seen)) if entry["pods"] == len(seen.pods))
    return f"version {names} AVAILABLE on all {len(seen.pods)} pods that serve"
