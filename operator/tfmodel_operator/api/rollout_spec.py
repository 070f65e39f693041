"""`spec.rollout`: how a new version replaces the one clients get, as frozen values.

The defaults are the schema's; they stand here too, because objects stored before the field existed have none of them.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Any, TypeVar

RETRY = "serving.tfmodel.dev/retry"
"""Annotation on a TFModel: ``"4"`` tries the quarantined version 4 again, once; to ask once more, change what follows the
number (``"4 again"``), or take the annotation away and set it anew."""


class InvalidRollout(ValueError):
    """A `spec.rollout` that can't be acted on; the message says what to change."""


class Strategy(enum.StrEnum):
    """Where the new version is loaded."""

    AUTO = "Auto"  # InPlace where memory can hold two versions
    IN_PLACE = "InPlace"  # beside the old version, in the pods that are there
    ROLLING_UPDATE = "RollingUpdate"  # in new pods, while the old ones serve
    RECREATE = "Recreate"  # in new pods, after the old ones have stopped: nothing serves in between


class Approval(enum.StrEnum):
    AUTOMATIC = "Automatic"
    MANUAL = "Manual"  # a candidate waits until approvedVersion names it


class ComparisonPolicy(enum.StrEnum):
    DISABLED = "Disabled"
    REPORT = "Report"  # differences are shown
    REQUIRE = "Require"  # and block promotion beyond the limit


class OnFailure(enum.StrEnum):
    ROLL_BACK = "RollBack"
    HOLD = "Hold"  # a failed version stays loaded under its private name, for inspection


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a candidate's answers are held against those of the promoted version.

    Args:
        max_relative_difference: Per output, of the largest difference in a row as a fraction of the largest value in that row
            (:mod:`tfmodel_serving.comparison`); 0.001 is 0.1 %.
    """

    policy: ComparisonPolicy = ComparisonPolicy.DISABLED
    max_relative_difference: float = 0.001


@dataclasses.dataclass(frozen=True, slots=True)
class Rollout:
    """`spec.rollout`.

    Args:
        approved_version: Counts only where approval is Manual, and only for the candidate of that number.
        paused: Nothing moves forward; the ways back stay open.
        progress_deadline_seconds: For a candidate, from one stage to the next.
        bake_seconds: How long the old version stays loaded after a promotion, for an instant way back.
    """

    strategy: Strategy = Strategy.AUTO
    approval: Approval = Approval.AUTOMATIC
    approved_version: int | None = None
    paused: bool = False
    progress_deadline_seconds: int = 600
    bake_seconds: int = 0
    comparison: Comparison = Comparison()
    on_failure: OnFailure = OnFailure.ROLL_BACK


def parse(rollout: Mapping[str, Any]) -> Rollout:
    """Return the values of `spec.rollout`, ``{}`` if it is absent.

    Raises:
        InvalidRollout: The schema should have refused it; an older schema may not have.
    """
    default = Rollout()
    comparison = _member(rollout, "comparison", dict, {})
    return Rollout(
        strategy=_choice(Strategy, rollout, "strategy", default.strategy),
        approval=_choice(Approval, rollout, "approval", default.approval),
        approved_version=_natural(rollout, "approvedVersion", default.approved_version, least=1),
        paused=_member(rollout, "paused", bool, default.paused),
        progress_deadline_seconds=_natural(rollout, "progressDeadlineSeconds", default.progress_deadline_seconds, least=1),
        bake_seconds=_natural(rollout, "bakeSeconds", default.bake_seconds, least=0),
        comparison=Comparison(
            _choice(ComparisonPolicy, comparison, "policy", default.comparison.policy, within="comparison."),
            _fraction(comparison, "maxRelativeDifference", default.comparison.max_relative_difference),
        ),
        on_failure=_choice(OnFailure, rollout, "onFailure", default.on_failure),
    )


def retried_version(annotation: str) -> int | None:
    """Return the version that an annotation :data:`RETRY` names, or None."""
    found = re.match(r"\s*([0-9]{1,19})(?![0-9])", annotation)
    return int(found[1]) if found else None


_Choice = TypeVar("_Choice", bound=enum.StrEnum)
_Value = TypeVar("_Value")
_Number = TypeVar("_Number", int, int | None)


def _member(fields: Mapping[str, Any], name: str, kind: type[_Value], default: _Value) -> _Value:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise InvalidRollout(f"spec.rollout.{name}: {value!r} is no {kind.__name__}; leave it out for {default!r}")
    return value


def _choice(kind: type[_Choice], fields: Mapping[str, Any], name: str, default: _Choice, within: str = "") -> _Choice:
    try:
        return kind(fields.get(name, default))
    except ValueError as error:
        raise InvalidRollout(f"spec.rollout.{within}{name}: choose one of {', '.join(kind)}") from error


def _natural(fields: Mapping[str, Any], name: str, default: _Number, least: int) -> _Number:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidRollout(f"spec.rollout.{name}: use a whole number, {least} or more, instead of {value!r}")
    return value


def _fraction(fields: Mapping[str, Any], name: str, default: float) -> float:
    """Parse a decimal; the schema has it as a string, because floats don't survive every client."""
    value = fields.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,18})?", str(value)):
        raise InvalidRollout(f'spec.rollout.comparison.{name}: use a decimal such as "0.001" instead of {value!r}')
    return float(value)
