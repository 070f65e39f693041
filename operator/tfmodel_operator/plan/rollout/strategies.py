"""Where a new version is loaded: beside the old one, or in new pods. `Auto` decides by memory, and says why."""

from __future__ import annotations

import dataclasses
import re

from tfmodel_operator.api.rollout_spec import ComparisonPolicy, Strategy
from tfmodel_operator.plan.rollout.facts import Memory
from tfmodel_operator.plan.rollout.situation import Situation

SIZE_FACTOR = 1.5
"""Memory of a loaded version, as a multiple of its size on disk: the weights once, and half as much for what restoring, warmup
and requests take on top. TensorFlow Serving's own estimate, which it doesn't act on, is 1.2 (servables/tensorflow/util.cc)."""
SERVER_BYTES = 512 << 20
"""Memory of a model server without models (measured: 335 MiB), with room for requests."""
DEVICE_BYTES = 8 << 30
"""Memory of a device whose name doesn't say how much it has; nodes aren't asked."""
CONTEXT_BYTES = 1 << 30
"""Memory of a device that its driver and libraries take for a process."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """How ``strategy`` (never Auto) came to be chosen.

    Args:
        blocked: Why nothing can be done as things are; ``""`` if it can.
    """

    strategy: Strategy
    reason: str
    blocked: str = ""


def decide(s: Situation, candidate: int) -> Decision:
    """Return where to load ``candidate``."""
    wish = s.rollout.strategy
    decision = Decision(wish, f"strategy is {wish}") if wish is not Strategy.AUTO else _by_memory(s, candidate)
    if decision.strategy is not Strategy.IN_PLACE and s.rollout.comparison.policy is ComparisonPolicy.REQUIRE and s.promoted:
        why = "" if wish is decision.strategy else f", because {decision.reason}"
        blocked = (
            f"comparison.policy Require needs both versions in one model server, and the strategy is {decision.strategy}{why}:"
            " choose InPlace, or comparison.policy Report"
        )
        return dataclasses.replace(decision, blocked=blocked)
    return decision


def _by_memory(s: Situation, candidate: int) -> Decision:
    fits, reason = _fits(s, candidate)
    if fits:
        return Decision(Strategy.IN_PLACE, reason)
    if s.desired.memory.recreate:
        return Decision(Strategy.RECREATE, f"{reason}, and updateStrategy is Recreate")
    return Decision(Strategy.ROLLING_UPDATE, reason)


def _fits(s: Situation, candidate: int) -> tuple[bool, str]:
    """Tell whether memory holds the candidate beside what is promoted, and the sum that says so."""
    memory = s.desired.memory
    sizes = [s.fleet.size(version) for version in sorted({*s.loaded, candidate})]
    need = SIZE_FACTOR * sum(sizes)
    names = " and ".join(str(version) for version in sorted({*s.loaded, candidate}))
    reason = "there is no memory limit that two versions could exceed"
    for room, base, where in _rooms(memory):
        reason = f"versions {names} take about {_bytes(need + base)} together, and {where} is {_bytes(room)}"
        if need + base > room:
            return False, reason
    return True, reason


def _rooms(memory: Memory) -> list[tuple[float, float, str]]:
    """Return what there is of each kind of memory, what a server takes of it without models, and its name."""
    rooms: list[tuple[float, float, str]] = []
    if memory.limit_bytes:
        rooms.append((memory.limit_bytes, SERVER_BYTES, "the memory limit"))
    if memory.accelerator:
        share = f", by memoryFraction {memory.fraction:g}," if memory.fraction else ""
        rooms.append((_device(memory) * (memory.fraction or 1.0), CONTEXT_BYTES, f"a device's memory{share}"))
    return rooms


def _device(memory: Memory) -> float:
    """Return the bytes of one device: as the name of a slice says (`mig-1g.10gb`), or a modest guess."""
    slice_of = re.search(r"mig-[0-9]+g\.([0-9]+)gb", memory.accelerator)
    return float(int(slice_of[1]) << 30) if slice_of else DEVICE_BYTES


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
