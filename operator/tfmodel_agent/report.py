"""What the agent says about itself: the pure step from facts to :class:`tfmodel_serving.state.AgentState`."""

from __future__ import annotations

from collections.abc import Sequence

from tfmodel_agent import history as memory
from tfmodel_agent import steps
from tfmodel_serving import model_config
from tfmodel_serving.state import (
    MAX_NAMES,
    MAX_WARNINGS,
    MESSAGE_CHARACTERS,
    NAME_CHARACTERS,
    AgentState,
    ModelState,
    VersionState,
    clean,
    clean_all,
)

MAX_VERSIONS = 20


def report(
    pod_uid: str,
    config_hash: str,
    config_message: str,
    wanted: Sequence[steps.Wanted],
    seen: memory.Seen,
    history: memory.History,
    step: steps.Step,
    now: float,
) -> AgentState:
    """Return the state of this pod.

    A pod is ready while every model has an AVAILABLE version: a config or version that can't be served doesn't take a
    pod that serves out of its Service.
    """
    serves = all(any(found.state == "AVAILABLE" for found in seen.models.get(one.model.name, {}).values()) for one in wanted)
    return AgentState(
        pod_uid=pod_uid,
        config_hash=config_hash,
        ready=bool(config_hash) and seen.reachable and serves,
        settled=step.settled and not config_message,
        step=clean(step.reason),
        config_message=clean(config_message),
        server_message=clean(seen.message),
        suspect=clean(step.suspect),
        models=tuple(_model(one, seen, history, now) for one in wanted),
    )


def _model(wanted: steps.Wanted, seen: memory.Seen, history: memory.History, now: float) -> ModelState:
    name = wanted.model.name
    targets = steps.wanted_versions(wanted, seen, history, now)
    if isinstance(wanted.model.version_policy, model_config.Specific):
        targets = frozenset(wanted.model.version_policy.versions)
    known = {v for v, found in seen.models.get(name, {}).items() if found.state != "END" or found.code}
    versions = sorted(set(wanted.findings) | targets | known, reverse=True)
    return ModelState(
        name=name,
        source_message=clean(wanted.source_message),
        versions=tuple(_version(wanted, version, version in targets, seen, history) for version in versions[:MAX_VERSIONS]),
    )


def _version(wanted: steps.Wanted, version: int, is_target: bool, seen: memory.Seen, history: memory.History) -> VersionState:
    finding = wanted.findings.get(version)
    found = seen.models.get(wanted.model.name, {}).get(version)
    failure = history.failures.get((wanted.model.name, version))
    message = finding.message if finding else "no such directory"
    if failure:
        message = f"failed to load: {failure.message}"
    return VersionState(
        version=version,
        verdict=str(finding.verdict) if finding else "Missing",
        state=found.state if found else "",
        wanted=is_target,
        message=clean(message),
        reason=str(finding.reason) if finding else "",
        digest=finding.digest if finding else "",
        size_bytes=finding.size_bytes if finding else 0,
        signatures=clean_all(finding.signatures if finding else (), MAX_NAMES, NAME_CHARACTERS),
        warmup_records=finding.warmup_records if finding else 0,
        warnings=clean_all(finding.warnings if finding else (), MAX_WARNINGS, MESSAGE_CHARACTERS),
    )
