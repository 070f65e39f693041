"""The status object of a TFModel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import conditions, labels
from tfmodel_operator.api.conditions import Finding, Reason, Type
from tfmodel_operator.api.facts import Facts
from tfmodel_operator.status import checks
from tfmodel_serving.state import VersionState

MAX_VERSIONS = 20
STATES = ("", "END", "START", "LOADING", "UNLOADING", "AVAILABLE")
"""From the least to the most: a version's state over all pods is the least of theirs."""


def status(seen: Facts, before: Mapping[str, Any], endpoints: Mapping[str, str], now: str) -> dict[str, Any]:
    """Return the whole status; equal facts give an equal one, apart from the times of conditions that changed.

    Args:
        before: The stored status.
        now: RFC 3339, UTC.
    """
    model = seen.model
    versions = version_states(seen)
    result: dict[str, Any] = {
        "observedGeneration": model.generation,
        "conditions": conditions.merge(before.get("conditions", []), findings(seen), model.generation, now),
        "versions": versions,
        "server": {
            "name": model.name,
            "kind": "Dedicated",
            "replicas": seen.replicas,
            "readyReplicas": seen.ready_replicas,
            "pods": f"{seen.ready_replicas}/{model.server.replicas}",
            "image": model.server.image,
        },
        "endpoints": dict(endpoints),
        "replicas": seen.replicas,
        "selector": f"{labels.SERVER}={model.name}",
    }
    if (promoted := promoted_version(seen)) is not None:
        result["promotedVersion"] = promoted
    return result


def invalid(before: Mapping[str, Any], finding: Finding, generation: int, now: str) -> dict[str, Any]:
    """Return the status of a TFModel whose spec can't be acted on: what it said of the servers before still stands."""
    found = {Type.READY: finding, Type.CONFIG_VALID: finding, Type.STALLED: _is_so(finding)}
    kept = {c["type"] for c in before.get("conditions", [])} - set(found) - {Type.RECONCILING}
    others = [condition for condition in before.get("conditions", []) if condition["type"] in kept]
    merged = conditions.merge(before.get("conditions", []), found, generation, now)
    return {**before, "observedGeneration": generation, "conditions": merged + others}


def findings(seen: Facts) -> dict[Type, Finding]:
    """Return the finding for every condition that is present."""
    ready = checks.first(checks.READY, seen, conditions.as_desired(_ready_message(seen)))
    unknown = Finding("Unknown", Reason.WAITING_FOR_PODS, "no agent has reported yet")
    nothing_known = unknown if not seen.reports and seen.model.server.replicas else None
    result = {
        Type.READY: ready,
        Type.AVAILABLE: available(seen),
        Type.CONFIG_VALID: checks.first([checks.config_valid], seen, conditions.as_desired("all objects are accepted")),
        Type.VERSIONS_VERIFIED: checks.first(
            checks.VERSIONS_VERIFIED, seen, nothing_known or conditions.as_desired("every wanted version is complete")
        ),
        Type.PODS_READY: checks.first(checks.PODS_READY, seen, conditions.as_desired("all pods are ready")),
        Type.MODEL_AVAILABLE: checks.first(
            checks.MODEL_AVAILABLE, seen, nothing_known or conditions.as_desired("every wanted version is AVAILABLE")
        ),
    }
    if ready.status != "True":
        result[Type.STALLED if ready.reason in conditions.STALLED else Type.RECONCILING] = _is_so(ready)
    return result


def available(seen: Facts) -> Finding:
    """Tell whether clients get answers: a ready pod has a version AVAILABLE."""
    serving = sum(
        1
        for pod in seen.pods
        if pod.ready and pod.agent and (model := pod.agent.model(seen.model.model_name)) and _highest_available(model.versions)
    )
    if serving:
        return conditions.as_desired(f"{serving} ready pods answer")
    if seen.model.server.replicas == 0:
        return Finding("False", Reason.AS_DESIRED, "scaled to zero: no pod answers")
    if any(pod.ready and pod.agent is None for pod in seen.pods):
        return Finding("Unknown", Reason.AGENT_UNREACHABLE, "pods are ready, and no agent says what they serve")
    return Finding("False", Reason.WAITING_FOR_PODS, "no ready pod has a version AVAILABLE")


def promoted_version(seen: Facts) -> int | None:
    """Return the version that requests without a version get in every ready pod, or None: pods differ, or there is none."""
    highest = {
        _highest_available(model.versions)
        for pod in seen.pods
        if pod.ready and pod.agent and (model := pod.agent.model(seen.model.model_name))
    }
    return highest.pop() if len(highest) == 1 else None


def version_states(seen: Facts) -> list[dict[str, Any]]:
    """Return one entry per version any agent knows, newest first."""
    by_version: dict[int, list[VersionState]] = {}
    for _, agent in seen.reports:
        if model := agent.model(seen.model.model_name):
            for version in model.versions:
                by_version.setdefault(version.version, []).append(version)
    entries = []
    for number, states in sorted(by_version.items(), reverse=True)[:MAX_VERSIONS]:
        worst = min(states, key=lambda state: (STATES.index(state.state) if state.state in STATES else 0, not state.message))
        entries.append(
            {
                "version": number,
                "state": worst.state,
                "verdict": worst.verdict,
                "pods": sum(state.state == "AVAILABLE" for state in states),
                "of": len(seen.reports),
                "message": worst.message,
            }
        )
    return entries


def _highest_available(versions: Iterable[VersionState]) -> int | None:
    return max((version.version for version in versions if version.state == "AVAILABLE"), default=None)


def _ready_message(seen: Facts) -> str:
    if seen.model.server.replicas == 0:
        return "scaled to zero"
    versions = sorted({version["version"] for version in version_states(seen) if version["pods"] == len(seen.reports)})
    names = ", ".join(str(version) for version in versions)
    return f"version{'s' if len(versions) > 1 else ''} {names} AVAILABLE on all {len(seen.pods)} pods"


def _is_so(finding: Finding) -> Finding:
    return Finding("True", finding.reason, finding.message)
