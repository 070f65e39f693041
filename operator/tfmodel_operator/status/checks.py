"""Checks over facts. A condition is the first failing finding of an ordered list; the order is what matters most to a user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tfmodel_operator.api import conditions
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.facts import Facts
from tfmodel_serving.state import ModelState, VersionState

Check = Callable[[Facts], Finding | None]


def config_valid(seen: Facts) -> Finding | None:
    """The objects that follow from spec are accepted by the API server."""
    return seen.config_problem


def source_mounted(seen: Facts) -> Finding | None:
    """No pod waits for the claim."""
    return _problem(seen, Reason.SOURCE_UNAVAILABLE)


def images_pulled(seen: Facts) -> Finding | None:
    """No pod waits for an image it can't get."""
    return _problem(seen, Reason.IMAGE_PULL_FAILED)


def config_read(seen: Facts) -> Finding | None:
    """Every agent that answers uses the published config."""
    for pod, agent in seen.reports:
        if agent.config_message:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod}: {agent.config_message}")
        if agent.config_hash != seen.config_hash:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod} has not got the new config yet")
    return None


def source_readable(seen: Facts) -> Finding | None:
    """Every agent that answers can list the base path."""
    for pod, model in _models(seen):
        if model.source_message:
            return _failing(Reason.SOURCE_UNAVAILABLE, f"pod {pod}: {model.source_message} ({seen.model.source})")
    return None


def version_found(seen: Facts) -> Finding | None:
    """There is a version to serve."""
    for pod, model in _models(seen):
        if not any(version.wanted for version in model.versions):
            there = [version for version in model.versions if version.verdict != "Missing"]
            others = ", ".join(f"{version.version} is {version.verdict}: {version.message}" for version in there)
            found = f"found {others}" if others else "it holds no version directory; add one named by its number, such as 1"
            reason = _reason(there[0].verdict if there else "Missing")  # the newest one's, which is what people wait for
            return _failing(reason, f"pod {pod}: no version to serve in {seen.model.source}: {found}")
    return None


def versions_verified(seen: Facts) -> Finding | None:
    """Every wanted version is complete on the volume, as each pod sees it."""
    for pod, version in _wanted(seen):
        if version.verdict == "Missing":
            return _failing(_reason(version.verdict), f"pod {pod}: version {version.version} is not in {seen.model.source}")
        if version.verdict != "Verified":
            return _failing(_reason(version.verdict), f"pod {pod}: version {version.version}: {version.message}")
    return None


def versions_loadable(seen: Facts) -> Finding | None:
    """No wanted version failed to load."""
    for pod, version in _wanted(seen):
        if version.state != "AVAILABLE" and version.message.startswith("failed to load"):
            return _failing(Reason.MODEL_LOAD_FAILED, f"pod {pod}: version {version.version} {version.message}")
    return None


def servers_sound(seen: Facts) -> Finding | None:
    """No model server waits for its restart."""
    for pod, agent in seen.reports:
        if agent.suspect:
            return _failing(Reason.SERVER_SUSPECT, f"pod {pod}: {agent.suspect}")
    return None


def servers_answer(seen: Facts) -> Finding | None:
    """Every model server answers its agent."""
    for pod, agent in seen.reports:
        if agent.server_message:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod}: {agent.server_message}")
    return None


def versions_available(seen: Facts) -> Finding | None:
    """Every wanted version is AVAILABLE in every pod that reports."""
    for pod, version in _wanted(seen):
        if version.state != "AVAILABLE":
            return _failing(Reason.MODEL_LOADING, f"pod {pod}: version {version.version} is {version.state or 'about to load'}")
    return None


def agents_settled(seen: Facts) -> Finding | None:
    """No agent has anything left to do."""
    for pod, agent in seen.reports:
        if not agent.settled:
            return _failing(Reason.ROLLING_OUT, f"pod {pod}: {agent.step}")
    return None


def pods_exist(seen: Facts) -> Finding | None:
    """The Deployment has the pods it should have, of the template that was applied."""
    if other := _problem(seen, Reason.WAITING_FOR_PODS):
        return other
    wanted = seen.model.server.replicas
    if len(seen.pods) != wanted:
        return _failing(Reason.WAITING_FOR_PODS, f"there are {len(seen.pods)} pods and should be {wanted}")
    if not seen.template_running:
        return _failing(Reason.WAITING_FOR_PODS, "the Deployment is still replacing pods by ones of its new template")
    return None


def agents_answer(seen: Facts) -> Finding | None:
    """Every pod's agent answers."""
    for pod in seen.pods:
        if pod.agent is None:
            starting = "" if pod.ready else " (the pod is starting)"
            return _failing(Reason.AGENT_UNREACHABLE, f"pod {pod.name}: {pod.agent_message}{starting}")
    return None


def pods_ready(seen: Facts) -> Finding | None:
    """The kubelet calls every pod ready."""
    for pod in seen.pods:
        if not pod.ready:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod.name} is not ready yet")
    return None


VERSIONS_VERIFIED: tuple[Check, ...] = (source_mounted, config_read, source_readable, version_found, versions_verified)
PODS_READY: tuple[Check, ...] = (source_mounted, images_pulled, pods_exist, pods_ready)
MODEL_AVAILABLE: tuple[Check, ...] = (
    config_read,
    source_readable,
    versions_loadable,
    servers_sound,
    servers_answer,
    version_found,
    versions_available,
)
READY: tuple[Check, ...] = (
    config_valid,
    source_mounted,
    images_pulled,
    source_readable,
    versions_loadable,
    servers_sound,
    config_read,
    version_found,
    versions_verified,
    pods_exist,
    agents_answer,
    servers_answer,
    versions_available,
    agents_settled,
    pods_ready,
)


def first(checks: Iterable[Check], seen: Facts, otherwise: Finding) -> Finding:
    """Return the first failing finding, or ``otherwise``."""
    return next((found for check in checks if (found := check(seen))), otherwise)


def _reason(verdict: str) -> Reason:
    """Return the reason for a version that can't be served because of its files."""
    match verdict:
        case "Missing":
            return Reason.NO_VERSION_FOUND
        case "Incomplete":
            return Reason.VERSION_INCOMPLETE
    return Reason.VERSION_REJECTED


def _problem(seen: Facts, reason: Reason) -> Finding | None:
    for pod in seen.pods:
        if pod.problem and pod.problem.reason is reason:
            return conditions.Finding("False", reason, f"pod {pod.name}: {pod.problem.message}")
    return None


def _models(seen: Facts) -> Iterator[tuple[str, ModelState]]:
    """Yield pod name and what its agent says of the model; an agent that hasn't read our config says nothing of it."""
    for pod, agent in seen.reports:
        if agent.config_hash == seen.config_hash and (model := agent.model(seen.model.model_name)):
            yield pod, model


def _wanted(seen: Facts) -> Iterator[tuple[str, VersionState]]:
    for pod, model in _models(seen):
        for version in model.versions:
            if version.wanted:
                yield pod, version


def _failing(reason: Reason, message: str) -> Finding:
    return Finding("False", reason, message)
