"""Checks of the versions: on the volume, and in the model servers."""

from __future__ import annotations

from collections.abc import Iterator

from tfmodel_operator.api.conditions import Finding, Reason, Severity
from tfmodel_operator.api.facts import Facts
from tfmodel_operator.status import versions
from tfmodel_serving.state import ModelState, VersionState

FILE_REASONS = {Reason.VERSION_INCOMPLETE, Reason.VERSION_REJECTED, Reason.WARMUP_INVALID, Reason.WARMUP_MISSING}
"""What an agent may give as the reason of a verdict."""


def source_readable(seen: Facts) -> Finding | None:
    """Every agent that answers can list the base path."""
    for pod, model in _models(seen):
        if model.source_message:
            return _failing(Reason.SOURCE_UNAVAILABLE, f"pod {pod}: {model.source_message} ({seen.model.source})")
    return None


def version_found(seen: Facts) -> Finding | None:
    """There is a version to serve."""
    for pod, model in _models(seen):
        if versions.asked(seen.model.version_policy, model):
            continue
        there = [version for version in model.versions if version.verdict != "Missing"]
        others = ", ".join(f"{version.version} is {version.verdict}: {version.message}" for version in there)
        found = f"found {others}" if others else "it holds no version directory; add one named by its number, such as 1"
        reason = _reason(there[0]) if there else Reason.NO_VERSION_FOUND  # the newest one is what people wait for
        return _failing(reason, f"pod {pod}: no version to serve in {seen.model.source}: {found}")
    return None


def versions_verified(seen: Facts) -> Finding | None:
    """Every version that is asked for is complete on the volume, as each pod sees it."""
    for pod, version in _asked(seen):
        if version.verdict == "Missing":
            found = _failing(_reason(version), f"pod {pod}: version {version.version} is not in {seen.model.source}")
        elif version.verdict != "Verified":
            fix = "" if version.verdict == "Incomplete" else "; replace its files, delete it, or ask for another version"
            found = _failing(_reason(version), f"pod {pod}: version {version.version}: {version.message}{fix}")
        else:
            continue
        return _failing(found.reason, found.message + _goes_on(seen))
    return None


def versions_loadable(seen: Facts) -> Finding | None:
    """No version that is asked for failed to load."""
    for pod, version in _asked(seen):
        if versions.failed(version):
            message = f"pod {pod}: version {version.version} {version.message}{_goes_on(seen)}"
            return _failing(Reason.MODEL_LOAD_FAILED, message)
    return None


def rollout_failed(seen: Facts) -> Finding | None:
    """No version that is asked for has been taken out, or is kept out by something only spec can change."""
    found = seen.rollout.finding
    return found if found and found.reason.severity is Severity.STALLED else None


def rollout_complete(seen: Facts) -> Finding | None:
    """No version is on its way in or out.

    One whose files are still being written, and that nobody asks for by its number, doesn't count: it isn't there yet.
    """
    found = seen.rollout.finding
    if found and found.reason is Reason.VERSION_INCOMPLETE and versions_available(seen) is None:
        return None
    return found


def versions_available(seen: Facts) -> Finding | None:
    """Every version that is asked for, by spec or in any pod, is AVAILABLE in every pod that reports."""
    for number in sorted({version.version for _, version in _asked(seen)}, reverse=True):
        for pod, model in _models(seen):
            found = versions.of(number, model)
            if found is None or found.state != "AVAILABLE":
                state = "not seen by it yet" if found is None else found.state or "about to load"
                return _failing(Reason.MODEL_LOADING, f"pod {pod}: version {number} is {state}")
    return None


def _goes_on(seen: Facts) -> str:
    """Say what clients get meanwhile."""
    serving = {highest for _, model in _models(seen) if (highest := versions.highest_available(model))}
    return f"; version {serving.pop()} goes on serving" if len(serving) == 1 else ""


def _reason(version: VersionState) -> Reason:
    """Return the reason for a version that can't be served because of its files: the agent's word, if it is one of ours."""
    if version.verdict == "Missing":
        return Reason.NO_VERSION_FOUND
    if version.reason in FILE_REASONS:
        return Reason(version.reason)
    return Reason.VERSION_INCOMPLETE if version.verdict == "Incomplete" else Reason.VERSION_REJECTED


def _models(seen: Facts) -> Iterator[tuple[str, ModelState]]:
    """Yield pod name and what its agent says of the model; an agent that hasn't read our config says nothing of it."""
    for pod, agent in seen.reports:
        if agent.config_hash == seen.config_hash and (model := agent.model(seen.model.model_name)):
            yield pod, model


def _asked(seen: Facts) -> Iterator[tuple[str, VersionState]]:
    for pod, model in _models(seen):
        for version in versions.asked(seen.model.version_policy, model):
            yield pod, version


def _failing(reason: Reason, message: str) -> Finding:
    return Finding("False", reason, message)
