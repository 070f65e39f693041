"""What the agent says about itself: the pure step from facts to :class:`tfmodel_serving.state.AgentState`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfmodel_agent import failures, readiness, steps, trials
from tfmodel_agent import history as memory
from tfmodel_serving import agent_config, model_config, problems, saved_model
from tfmodel_serving.state import (
    LOAD_FAILED,
    MAX_NAMES,
    MAX_WARNINGS,
    MESSAGE_CHARACTERS,
    NAME_CHARACTERS,
    AgentState,
    Comparison,
    ModelState,
    VersionState,
    clean,
    clean_all,
)

MAX_VERSIONS = 20
"""Versions told of one model; those that are asked for, watched or live in the server are told in any case."""
MIN_OTHERS = 10
"""As many of the newest of all others are told too, however many those are: the next version to be rolled out is one of them."""
_OLD_FILES = (
    "it serves as it was loaded: its files have been written to or replaced since, which the model server does not notice; "
    "give other files another version number"
)
_NO_DIRECTORY = saved_model.Finding(saved_model.Verdict.INCOMPLETE, "no such directory", problems.Reason.NO_VERSION_FOUND)


def report(
    pod_uid: str,
    config_hash: str,
    config_message: str,
    wanted: Sequence[steps.Wanted],
    seen: memory.Seen,
    history: memory.History,
    step: steps.Step,
    now: float,
    comparisons: Mapping[str, Comparison | str],
    mode: agent_config.Readiness = agent_config.Readiness.EVERY_MODEL,
) -> AgentState:
    """Return the state of this pod.

    Args:
        comparisons: By the name of the candidate's entry, what has come of it or how far it is.

    A config or version that can't be served doesn't take a pod that serves out of its Service.
    """
    is_ready = bool(config_hash) and readiness.is_ready(mode, wanted, seen, history)
    is_done = step.settled and not is_ready and mode is agent_config.Readiness.EVERY_MODEL
    waits = readiness.waits_for(wanted, seen, history) if is_done and not history.is_fed else ""
    return AgentState(
        pod_uid=pod_uid,
        config_hash=config_hash,
        ready=is_ready,
        settled=step.settled and not config_message,
        step=clean(f"not ready: {waits}; {step.reason}" if waits else step.reason),
        config_message=clean(config_message),
        server_message=clean(seen.message),
        suspect=clean(step.suspect),
        models=tuple(_model(one, seen, history, now, comparisons.get(one.model.name, "")) for one in wanted),
    )


def _model(
    wanted: steps.Wanted, seen: memory.Seen, history: memory.History, now: float, comparison: Comparison | str
) -> ModelState:
    name = wanted.model.name
    targets = steps.wanted_versions(wanted, seen, history, now)
    if isinstance(wanted.model.version_policy, model_config.Specific):
        targets = frozenset(wanted.model.version_policy.versions)
    served = seen.models.get(name, {})
    in_use = targets | wanted.watched | {v for v, found in served.items() if found.state in memory.LIVE}
    failed = {v for v, found in served.items() if found.state == "END" and found.code}
    others = sorted((failed | set(wanted.findings)) - in_use, reverse=True)[: max(MIN_OTHERS, MAX_VERSIONS - len(in_use))]
    return ModelState(
        name=name,
        available=readiness.is_available(name, seen),
        source_message=clean(wanted.source_message),
        versions=tuple(_version(wanted, v, v in targets, seen, history) for v in sorted([*in_use, *others], reverse=True)),
        comparison=comparison if isinstance(comparison, Comparison) else None,
        comparing=clean(comparison) if isinstance(comparison, str) else "",
    )


def _version(wanted: steps.Wanted, version: int, is_target: bool, seen: memory.Seen, history: memory.History) -> VersionState:
    name = wanted.model.name
    finding = wanted.findings.get(version, _NO_DIRECTORY)
    verdict, message, reason, warnings = finding.verdict.value, finding.message, finding.reason, finding.warnings
    digest = finding.digest
    if finding is _NO_DIRECTORY:
        verdict = "Missing"
    elif finding.verdict is saved_model.Verdict.INCOMPLETE and seen.state(name, version) == "AVAILABLE":
        # What is loaded doesn't change with its files; that they will be looked at again is nothing to alarm people with.
        warnings = (f"it serves; before it is loaded again its files must be whole: {message}", *warnings)
        verdict, message, reason = saved_model.Verdict.VERIFIED.value, "", problems.Reason.NONE
    elif not message and trials.serves_other_files((name, version), wanted.fingerprints, history):
        message, digest = _OLD_FILES, ""
    elif against := trials.describe((name, version), history):
        message, reason = against, problems.Reason.MODEL_LOAD_FAILED
    elif (failure := history.failures.get((name, version))) and not message and _is_of(failure, wanted, version):
        message, reason = f"{LOAD_FAILED}{failure.message}", problems.Reason.MODEL_LOAD_FAILED
    return VersionState(
        version=version,
        verdict=verdict,
        state=seen.state(name, version),
        wanted=is_target,
        message=clean(message),
        reason=reason.value,
        labels=_labels(name, version, history),
        digest=digest,
        size_bytes=finding.size_bytes,
        signatures=clean_all(finding.signatures, MAX_NAMES, NAME_CHARACTERS),
        warmup_records=finding.warmup_records,
        warnings=clean_all(warnings, MAX_WARNINGS, MESSAGE_CHARACTERS),
        crashes=crash.alone if (crash := history.crashes.get((name, version))) else 0,
    )


def _is_of(failure: failures.Failure, wanted: steps.Wanted, version: int) -> bool:
    """Tell whether what failed are the files that are there now, and the config hasn't asked for them anew since."""
    return failure.fingerprint == wanted.fingerprints.get(version)


def _labels(name: str, version: int, history: memory.History) -> tuple[str, ...]:
    served = (history.pushed or {}).get(name)
    return tuple(sorted(label for label, labelled in served.labels.items() if labelled == version)) if served else ()
