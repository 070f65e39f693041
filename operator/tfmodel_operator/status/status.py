"""The status object of a TFModel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import conditions, labels
from tfmodel_operator.api.conditions import Finding, Reason, Type
from tfmodel_operator.api.facts import Facts, PodFacts
from tfmodel_operator.status import checks, versions
from tfmodel_serving import state

WORDS_CHARACTERS = 512
"""As many as the schema of status allows: a Deployment may have a longer image, or many devices with long names."""


def status(seen: Facts, before: Mapping[str, Any], endpoints: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return the whole status; equal facts give an equal one, apart from the times of conditions that changed.

    Args:
        before: The stored status.
        now: RFC 3339, UTC.
    """
    model, made = seen.model, seen.deployment
    result: dict[str, Any] = {
        "observedGeneration": model.generation,
        "conditions": conditions.merge(before.get("conditions", []), findings(seen), model.generation, now),
        "server": {
            "name": model.name,
            "kind": "Dedicated",
            "replicas": made.replicas,
            "readyReplicas": made.ready,
            "pods": f"{made.ready}/{made.wanted}",
            "image": state.clean(made.image, WORDS_CHARACTERS),
            "accelerator": state.clean(made.accelerator, WORDS_CHARACTERS),
        },
        "endpoints": dict(endpoints),
        "replicas": made.replicas,
        "selector": f"{labels.SERVER}={model.name}",
    }
    if known := versions.entries(seen):  # the API server drops an empty list, and the next pass would write it again
        result["versions"] = known
    if (promoted := promoted_version(seen)) is not None:
        result["promotedVersion"] = promoted
    return {**result, **seen.rollout.says}


def invalid(
    before: Mapping[str, Any], finding: Finding, generation: int, now: str, *, pods: Iterable[PodFacts], model_name: str
) -> dict[str, Any]:
    """Return the status of a TFModel whose spec can't be acted on: what serves goes on serving, and that is still told.

    What was said of the earlier spec's versions and pods stands as it was, with the generation it was about.
    """
    pods = tuple(pods)
    found = {
        Type.READY: finding,
        Type.AVAILABLE: available(pods, model_name, finding),
        Type.CONFIG_VALID: finding,
        Type.STALLED: _is_so(finding),
    }
    stored = before.get("conditions", [])
    kept = [condition for condition in stored if condition["type"] not in {*found, Type.RECONCILING}]
    return {**before, "observedGeneration": generation, "conditions": conditions.merge(stored, found, generation, now) + kept}


def findings(seen: Facts) -> dict[Type, Finding]:
    """Return the finding for every condition that is present."""
    ready, stalled = checks.ready(seen, conditions.as_desired(_ready_message(seen)), checks.READY)
    unknown = _unknown(seen, ready)
    verified = unknown or conditions.as_desired("every wanted version is complete")
    loaded = unknown or conditions.as_desired("every wanted version is AVAILABLE")
    result = {
        Type.READY: ready,
        Type.AVAILABLE: available(seen.pods, seen.model.model_name, ready),
        Type.CONFIG_VALID: checks.first(checks.CONFIG_VALID, seen, conditions.as_desired("all objects are accepted")),
        Type.VERSIONS_VERIFIED: checks.first(checks.VERSIONS_VERIFIED, seen, verified),
        Type.PODS_READY: checks.first(checks.PODS_READY, seen, conditions.as_desired("all pods are ready")),
        Type.MODEL_AVAILABLE: checks.first(checks.MODEL_AVAILABLE, seen, loaded),
    }
    if ready.status != "True":
        result[Type.STALLED if stalled else Type.RECONCILING] = _is_so(ready)
    return result


def _unknown(seen: Facts, ready: Finding) -> Finding | None:
    """Return what to say of versions while some pod, or the lack of any, leaves it open; None if none does."""
    silent = [pod.name for pod in seen.pods if pod.agent is None]
    if silent:
        return Finding("Unknown", Reason.WAITING_FOR_PODS, f"nothing is known of pod {silent[0]} yet")
    if not seen.pods and ready.status != "True":
        return Finding("Unknown", ready.reason, "there is no pod that could tell")
    return None


def available(pods: Iterable[PodFacts], model_name: str, ready: Finding) -> Finding:
    """Tell whether clients get answers: a ready pod, of whatever template, has a version AVAILABLE.

    Args:
        ready: Why the TFModel isn't Ready, which is why nothing answers if nothing does.
    """
    pods = tuple(pods)
    in_service = [pod for pod in pods if pod.ready]
    serving = sum(serves(pod, model_name) is not None for pod in in_service)
    if serving:
        return conditions.as_desired(f"{serving} ready pod{'s' if serving > 1 else ''} answer{'' if serving > 1 else 's'}")
    if any(pod.agent is None for pod in in_service):
        return Finding("Unknown", Reason.AGENT_UNREACHABLE, "pods are ready, and no agent says what they serve")
    message = ready.message
    if ready.reason is Reason.ROLLING_OUT and pods and not in_service:  # how far a rollout is doesn't tell why nothing answers
        message = f"pod {pods[0].name} is not ready: {pods[0].phase}; {message}"
    return Finding("False", ready.reason, f"no pod answers: {message}")


def promoted_version(seen: Facts) -> int | None:
    """Return the version that requests without a version get in every ready pod, or None: pods differ, or there is none."""
    highest = {serves(pod, seen.model.model_name) for pod in seen.pods if pod.ready and pod.agent}
    return highest.pop() if len(highest) == 1 else None


def serves(pod: PodFacts, model_name: str) -> int | None:
    """Return the version that requests without a version get in one pod, or None."""
    model = pod.agent.model(model_name) if pod.agent else None
    return versions.highest_available(model) if model else None


def _ready_message(seen: Facts) -> str:
    if not seen.deployment.wanted:
        return "scaled to zero"
    served = [entry["version"] for entry in versions.entries(seen) if entry["pods"] == len(seen.pods)]
    names = ", ".join(str(version) for version in sorted(served))
    return f"version{'s' if len(served) > 1 else ''} {names} AVAILABLE on all {len(seen.pods)} pods"


def _is_so(finding: Finding) -> Finding:
    return Finding("True", finding.reason, finding.message)
