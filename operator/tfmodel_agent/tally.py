"""What a comparison has found so far; pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from tfmodel_serving import comparison, state

_SHOWN = state.MAX_NAMES


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """The sum of all requests that were made.

    Args:
        found: Differences by output.
        seconds: Of each request that both answered, how long the promoted version and the candidate took.
        failures: Requests that only the candidate failed on; the first of them is told in ``failure``.
        left_out: Requests that show nothing about the candidate; the first of them is told in ``reason``.
        end: Why not all requests were made; ``""`` if they were.
    """

    found: Mapping[str, comparison.Difference] = dataclasses.field(default_factory=dict)
    seconds: tuple[tuple[float, float], ...] = ()
    failures: int = 0
    failure: str = ""
    left_out: int = 0
    reason: str = ""
    end: str = ""


def compared(tally: Tally, where: str, found: Mapping[str, comparison.Difference], seconds: tuple[float, float]) -> Tally:
    """Both answered the request that is called ``where``."""
    named = {name: dataclasses.replace(one, message=one.message and f"{where}: {one.message}") for name, one in found.items()}
    return dataclasses.replace(tally, found=comparison.worst(tally.found, named), seconds=(*tally.seconds, seconds))


def failed(tally: Tally, reason: str) -> Tally:
    """The promoted version answered and the candidate did not."""
    return dataclasses.replace(tally, failures=tally.failures + 1, failure=tally.failure or reason)


def left_out(tally: Tally, reason: str) -> Tally:
    """The request can't be compared."""
    return dataclasses.replace(tally, left_out=tally.left_out + 1, reason=tally.reason or reason)


def told(tally: Tally, promoted: int, candidate: int) -> state.Comparison:
    """Return ``tally`` as an agent reports it, for these two versions."""
    outputs = comparison.told(tally.found)
    before, after = _latencies(tally.seconds)
    return state.Comparison(
        version=candidate,
        against=promoted,
        records=len(tally.seconds),
        outputs=tuple(dataclasses.replace(one, name=state.clean(one.name, state.NAME_CHARACTERS)) for one in outputs[:_SHOWN]),
        candidate=after,
        promoted=before,
        message=state.clean("; ".join(_messages(tally))),
        failures=tally.failures,
        note=state.clean("; ".join(_notes(tally, len(outputs)))),
    )


def _messages(tally: Tally) -> list[str]:
    messages = [_first_of(tally.failures, tally.failure)] if tally.failures else []
    messages += comparison.messages(tally.found)
    if not (messages or tally.seconds):
        messages.append("none of the requests could be compared" if tally.left_out else "the warmup file holds no requests")
    return messages


def _notes(tally: Tally, outputs: int) -> list[str]:
    notes = [tally.end] if tally.end else []
    if tally.left_out:
        notes.append(f"left out: {_first_of(tally.left_out, tally.reason)}")
    if outputs > _SHOWN:
        notes.append(f"of {outputs} outputs the {_SHOWN} worst are told")
    return notes


def _first_of(count: int, first: str) -> str:
    return f"{first} (and {count - 1} more)" if count > 1 else first


def _latencies(seconds: Sequence[tuple[float, float]]) -> tuple[state.Latency, state.Latency]:
    """Return the figures of all requests but the first one, which finds caches cold, unless it is the only one."""
    counted = seconds[1:] or seconds or [(0.0, 0.0)]
    promoted, candidate = (sorted(took) for took in zip(*counted, strict=True))
    return _latency(promoted), _latency(candidate)


def _latency(ordered: Sequence[float]) -> state.Latency:
    """Return the smallest values that half, and 99 of 100, do not exceed; to the microsecond."""
    median, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return state.Latency(round(median, 6), round(p99, 6))
