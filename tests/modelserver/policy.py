"""Which version to load or unload next: the availability-preserving policy, the only one the stock binary has.

Source: core/availability_preserving_policy.cc (hard-wired in model_servers/server.cc).
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from tests.modelserver.harness import HarnessState
from tests.modelserver.monitor import ServableId


class Kind(enum.Enum):
    """The two things that can be done to a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclasses.dataclass(frozen=True)
class Action:
    """One step."""

    kind: Kind
    id: ServableId


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A managed version as the policy sees it."""

    id: ServableId
    state: HarnessState
    is_aspired: bool


def next_action(versions: Sequence[Snapshot]) -> Action | None:
    """Return the next step for one model's versions, if any.

    Unload the lowest ready version nobody wants if nothing is wanted, or a wanted one is ready, or two unwanted ones are;
    else load the highest new wanted one. So 1 → 2 loads 2 beside 1 before 1 goes, and the *last* ready version is never
    given up for one that failed. That last rule is also the wedge: {1 unwanted, ready; 2 wanted, failed} has no next step.
    """
    wanted_is_ready = any(v.is_aspired and v.state is HarnessState.READY for v in versions)
    unwanted = [v for v in versions if not v.is_aspired and v.state is HarnessState.READY]
    nothing_wanted = not any(v.is_aspired for v in versions)
    if unwanted and (nothing_wanted or wanted_is_ready or len(unwanted) > 1):
        return Action(Kind.UNLOAD, min(v.id for v in unwanted))
    new = [v.id for v in versions if v.is_aspired and v.state is HarnessState.NEW]
    return Action(Kind.LOAD, max(new)) if new else None


def choose(actions: Sequence[Action | None]) -> Action | None:
    """Return the one step to take this tick, of all models' (in name order): unloads go before loads."""
    proposed = [action for action in actions if action]
    unloads = [action for action in proposed if action.kind is Kind.UNLOAD]
    return next(iter(unloads or proposed), None)
