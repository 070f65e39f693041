"""What speaks against a version: a load that failed, a server that crashes, answers that differ, time that has run out.

Silence doesn't. A pod that clients are sent to and that says nothing stops a rollout where it is, and no version is blamed.
"""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api.rollout_spec import ComparisonPolicy
from tfmodel_operator.plan.rollout import gates
from tfmodel_operator.plan.rollout.situation import Situation

NOT_LOADED, DIFFERS, LATE, CRASHED = "ModelLoadFailed", "ComparisonFailed", "ProgressDeadlineExceeded", "CrashLoopBackOff"


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a version can't be promoted, or stay so.

    Args:
        cause: The reason of a condition.
        certain: It is the version's own. Time that has run out, or a server that crashes, may have another cause; and such a
            version doesn't stay loaded under any name.
    """

    cause: str
    message: str
    certain: bool = True


def of_motion(s: Situation) -> Failure | None:
    """Return what speaks against the version in motion."""
    motion = s.motion
    if motion is None:
        return None
    name = s.fleet.private if motion.alone else s.fleet.model
    if said := s.fleet.failed(name, motion.version):
        return Failure(NOT_LOADED, said)
    if said := crashes(s, motion.candidate.since, motion.candidate.excused):
        return Failure(CRASHED, said, certain=False)
    requires = motion.alone and s.rollout.comparison.policy is ComparisonPolicy.REQUIRE
    if requires and (said := gates.differences(s, motion.version)):
        return Failure(DIFFERS, said)
    return _late(s, name, motion.version, deadline(s))


def of_promotion(s: Situation) -> Failure | None:
    """Return what speaks against the versions promoted last, while they can be taken back."""
    if s.record.bake is None or not s.baking:
        return None
    for version in sorted(s.promoted - s.record.bake.previous.versions):
        if said := s.fleet.failed(s.fleet.model, version):
            return Failure(NOT_LOADED, said)
    said = crashes(s, s.record.bake.since, s.record.bake.excused)
    return Failure(CRASHED, said, certain=False) if said else None


def crashes(s: Situation, since: float, excused: frozenset[str]) -> str:
    """Return which pod's model server has kept crashing since then; ``""``: none."""
    for pod in s.facts.pods:
        if pod.crash and pod.crashed_at is not None and pod.crashed_at >= since and pod.name not in excused:
            return f"pod {pod.name}: the model server crashes: {pod.crash}"
    return ""


def crashed(s: Situation, since: float, excused: frozenset[str]) -> str:
    """Return which pod's model server ended since then and isn't back with everything; ``""``: none."""
    for pod in s.facts.pods:
        if pod.crashed_at is not None and pod.crashed_at >= since and not pod.ready and pod.name not in excused:
            return f"pod {pod.name}: its model server has ended and is not ready again"
    return ""


def deadline(s: Situation) -> float | None:
    """Return when the candidate's time runs out, in Unix seconds; None: it doesn't."""
    if s.motion is None or s.motion.candidate.stopped:
        return None
    return s.motion.candidate.since + s.rollout.progress_deadline_seconds


def _late(s: Situation, name: str, version: int, until: float | None) -> Failure | None:
    if until is None or s.now < until:
        return None
    if s.fleet.silent or not s.fleet.reporting:
        return None  # nobody to ask is no answer
    waited = gates.waiting(s, version) if name == s.fleet.private else waiting(s, version)
    if not waited:
        return None
    return Failure(LATE, f"{waited}, {s.rollout.progress_deadline_seconds} s after it began", certain=False)


def waiting(s: Situation, version: int) -> str:
    """Return what keeps a version under the model's own name from being promoted; ``""``: nothing."""
    if s.motion is None:
        return ""
    if s.immutable and (said := s.rolling):
        return said
    return s.fleet.lacking(s.fleet.model, s.coming(version)) or crashed(s, s.motion.candidate.since, s.motion.candidate.excused)
