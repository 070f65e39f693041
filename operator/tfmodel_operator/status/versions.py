"""Which versions are asked for, and how far each is over all pods."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from tfmodel_operator.api.conditions import Reason
from tfmodel_operator.api.facts import Facts
from tfmodel_serving import model_config
from tfmodel_serving.state import AgentState, ModelState, VersionState, clean

MAX_VERSIONS = 20
MAX_SIGNATURES = 17
MESSAGE_CHARACTERS, NAME_CHARACTERS, WORD_CHARACTERS, REASON_CHARACTERS, DIGEST_CHARACTERS = 1024, 128, 16, 63, 80
"""As many as the schema of status allows: what an agent says comes over the network."""
MAX_VERSION = 2**63 - 1
MAX_WARMUP_RECORDS = 2**31 - 1
STATES = ("", "END", "START", "LOADING", "UNLOADING", "AVAILABLE")
"""From the least to the most: a version's state over all pods is the least of theirs."""


def asked(policy: model_config.VersionPolicy, model: ModelState) -> tuple[VersionState, ...]:
    """Return the versions that should be served, as one pod sees them, newest first.

    Those its agent wants now, and those the policy asks for that can't be had: a version that is broken, or that failed to
    load and is tried again later, is missed although the agent gives its place to an older one.
    """
    policy_asks = _policy_asks(policy, model)
    found = {version.version: version for version in model.versions if version.wanted or version.version in policy_asks}
    absent = {number: VersionState(number, "Missing") for number in policy_asks - set(found)}
    return tuple(version for _, version in sorted({**absent, **found}.items(), reverse=True))


def _policy_asks(policy: model_config.VersionPolicy, model: ModelState) -> set[int]:
    complete = [version.version for version in model.versions if _complete(version)]
    match policy:
        case model_config.Specific(versions):
            return set(versions)
        case model_config.Latest(num_versions):
            return set(sorted(complete)[-num_versions:])
        case model_config.All():
            return set(complete)


def _complete(version: VersionState) -> bool:
    """Tell whether the upload of a version is over, for good or ill."""
    return version.verdict in {"Verified", "Rejected"} or (version.verdict == "Incomplete" and version.state == "AVAILABLE")


def failed(version: VersionState) -> bool:
    """Tell whether the model server failed to load a version."""
    return version.state != "AVAILABLE" and version.reason == Reason.MODEL_LOAD_FAILED


def highest_available(model: ModelState) -> int | None:
    """Return the version that requests without a version get in one pod, or None."""
    available = (version.version for version in model.versions if version.state == "AVAILABLE")
    return max((number for number in available if 1 <= number <= MAX_VERSION), default=None)


def entries(seen: Facts) -> list[dict[str, Any]]:
    """Return `status.versions`: the versions that matter most to clients are kept if there are too many."""
    models = [model for _, agent in seen.reports if (model := told(seen, agent))]
    numbers = {v.version for model in models for v in model.versions if 1 <= v.version <= MAX_VERSION}
    matter = {v.version for model in models for v in asked(seen.model.version_policy, model)}
    matter |= {v.version for model in models for v in model.versions if v.state == "AVAILABLE"} | set(
        seen.rollout.labels.values()
    )
    kept = sorted(numbers, key=lambda number: (number in matter, number), reverse=True)[:MAX_VERSIONS]
    return [_entry(number, models, seen) for number in sorted(kept, reverse=True)]


def told(seen: Facts, agent: AgentState) -> ModelState | None:
    """Return what one pod says of the model's versions; of one on trial, what it says under the private name."""
    model = agent.model(seen.model.model_name)
    private = agent.model(model_config.candidate_name(seen.model.model_name))
    if model is None or private is None:
        return model or private
    on_trial = {version.version: version for version in private.versions if version.state}
    versions = [v if v.state else on_trial.get(v.version, v) for v in model.versions]
    return dataclasses.replace(model, versions=tuple(versions))


def _entry(number: int, models: Sequence[ModelState], seen: Facts) -> dict[str, Any]:
    states = [of(number, model) for model in models]
    worst = min((state for state in states if state), key=_advance)
    available = sum(state is not None and state.state == "AVAILABLE" for state in states)
    state = "" if None in states else worst.state
    optional = {
        "labels": _labels(number, seen),
        "reason": clean(worst.reason, REASON_CHARACTERS),
        "digest": clean(_common(state.digest for state in states if state), DIGEST_CHARACTERS),
        "signatures": [clean(name, NAME_CHARACTERS) for name in worst.signatures[:MAX_SIGNATURES]],
        "warmupRecords": min(max(worst.warmup_records, 0), MAX_WARMUP_RECORDS),
    }
    return {
        "version": number,
        "state": clean(state, WORD_CHARACTERS),
        "verdict": clean(worst.verdict, WORD_CHARACTERS),
        "pods": available,
        "of": len(seen.pods),
        "message": clean(worst.message, MESSAGE_CHARACTERS),
        **{key: value for key, value in optional.items() if value},
    }


def _labels(number: int, seen: Facts) -> list[str]:
    """Return the labels that clients may use for a version: those that the agents of all pods have set."""
    published = all(pod.agent and pod.agent.settled and pod.agent.config_hash == seen.config_hash for pod in seen.pods)
    return sorted(label for label, version in seen.rollout.labels.items() if published and version == number)


def of(number: int, model: ModelState) -> VersionState | None:
    """Return what one pod says of a version, or None: nothing."""
    return next((version for version in model.versions if version.version == number), None)


def _advance(version: VersionState) -> tuple[int, bool]:
    return STATES.index(version.state) if version.state in STATES else 0, not version.message


def _common(values: Iterable[str]) -> str:
    """Return the value that all have, or ``""``: they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""
