"""How versions and pods are spoken of."""

from __future__ import annotations

from collections.abc import Iterable

from tfmodel_operator.plan.rollout.situation import Situation


def numbers(versions: Iterable[int]) -> str:
    return ", ".join(str(version) for version in sorted(versions))


def names(versions: Iterable[int]) -> str:
    numbered = sorted(versions)
    return f"version{'s' if len(numbered) > 1 else ''} {numbers(numbered)}" if numbered else "nothing"


def all_ready(s: Situation) -> str:
    count = len(s.fleet.ready)
    return f"all {count} ready pods" if count > 1 else "the one ready pod"


def counted(s: Situation, name: str, version: int) -> str:
    """Say how many ready pods have a version."""
    return f"version {version} on {s.fleet.has(name, version)} of {len(s.fleet.ready)} ready pods"


def verified(s: Situation, version: int) -> str:
    """Say how many pods have verified a version, of which all have."""
    count = len(s.fleet.verdicts(version))
    return f"version {version} verified on {count} of {count} pods" if count > 1 else f"version {version} verified on the one pod"


def to_approve(s: Situation, version: int, how: str) -> str:
    """Say what a person has to do for ``version`` to go on."""
    given = s.rollout.approved_version
    other = f" (it is {given})" if given is not None else ""
    return f"version {version} {how} and waits: set spec.rollout.approvedVersion to {version}{other}"
