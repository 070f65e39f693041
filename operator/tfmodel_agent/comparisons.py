"""Which comparisons are asked for, made one after the other, each once for the files that are there.

Level-triggered: :meth:`Comparisons.want` is told at each look what is asked for and whether both versions are AVAILABLE. A
comparison that isn't asked for any more is cancelled; one that was interrupted, or made by an earlier agent, is made again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence

from tfmodel_agent import compare, steps
from tfmodel_agent import history as memory
from tfmodel_serving import agent_config, model_config, saved_model, state

RETRY_SECONDS = 5.0
"""Pause before a comparison that was interrupted is made again."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two versions to be compared, with the files they have.

    Args:
        fingerprints: Of the files of the promoted version and of the candidate; None where they can't be seen just now.
    """

    promoted: compare.Side
    candidate: compare.Side
    fingerprints: tuple[object, object]

    def is_still(self, other: Pair) -> bool:
        """Tell whether a result for ``other`` holds for this pair; a volume that can't be read changes nothing."""
        files = zip(self.fingerprints, other.fingerprints, strict=True)
        is_same = (self.promoted, self.candidate) == (other.promoted, other.candidate)
        return is_same and all(now == then or now is None or then is None for now, then in files)


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """A comparison that is asked for.

    Args:
        requests: The version whose warmup file is taken, or None: neither has one.
        waits_for: Why it can't be made yet; ``""`` if it can.
    """

    pair: Pair
    requests: compare.Side | None = None
    waits_for: str = ""


def wishes(
    wanted: Sequence[steps.Wanted], settings: Mapping[str, agent_config.ModelSettings], seen: memory.Seen
) -> dict[str, Wish]:
    """Return the comparisons that the mounted files ask for, by the name of the candidate's entry."""
    by_name = {one.model.name: one for one in wanted}
    found: dict[str, Wish] = {}
    for name, one in by_name.items():
        asked = settings.get(name, agent_config.ModelSettings()).compare_with
        if asked is not None and isinstance(one.model.version_policy, model_config.Specific):
            candidate = compare.Side(name, max(one.model.version_policy.versions))
            found[name] = _wish(compare.Side(asked.model, asked.version), candidate, by_name, seen)
    return found


def _wish(promoted: compare.Side, candidate: compare.Side, wanted: Mapping[str, steps.Wanted], seen: memory.Seen) -> Wish:
    waits = [
        f"version {side.version} of {side.model} is {seen.state(side.model, side.version) or 'not known to the model server'}"
        for side in (promoted, candidate)
        if seen.state(side.model, side.version) != "AVAILABLE"
    ]
    before, after = (
        wanted[side.model].fingerprints.get(side.version) if side.model in wanted else None for side in (promoted, candidate)
    )
    requests = None
    for side in (candidate, promoted):
        has_requests = _has_requests(wanted.get(side.model), side.version)
        if has_requests is None:
            waits.append(f"the files of version {side.version} have not been verified")
        if has_requests is not False:
            requests = side
            break
    return Wish(Pair(promoted, candidate, (before, after)), requests, "; ".join(waits))


def _has_requests(wanted: steps.Wanted | None, version: int) -> bool | None:
    """Tell whether a version has requests in a warmup file; None while that isn't known."""
    if wanted is None or wanted.source_message:
        return None
    finding = wanted.findings.get(version)
    if finding is None:
        return False  # it is gone from the volume, and may serve nevertheless
    return None if finding.verdict is saved_model.Verdict.INCOMPLETE else finding.warmup_records > 0


class Comparisons:
    """The comparisons of one model server.

    Args:
        server: Address of its gRPC port.
        directory: Returns the path of a version's directory, or None if it isn't known.
    """

    def __init__(self, server: str, directory: Callable[[str, int], str | None]) -> None:
        self.news = asyncio.Event()
        """Set while there is something to report that is newer than the last :meth:`want`."""
        self._server = server
        self._directory = directory
        self._wishes: Mapping[str, Wish] = {}
        self._known: dict[str, tuple[Pair, state.Comparison | str]] = {}
        self._running: tuple[str, Pair, asyncio.Task[None]] | None = None
        self._not_before = float("-inf")

    def want(self, wishes: Mapping[str, Wish]) -> None:
        """Have these made, and no others."""
        self.news.clear()
        self._wishes = wishes
        self._known = {name: known for name, known in self._known.items() if self._is_asked_for(name, known[0])}
        if self._running is not None:
            name, pair, task = self._running
            if task.done():
                self._finish(name, pair, task)
            elif not self._is_asked_for(name, pair) or wishes[name].waits_for:
                task.cancel()  # it is gone by the next look: there are never two at once
        if self._running is None and time.monotonic() >= self._not_before:
            self._start_next()

    def states(self) -> dict[str, state.Comparison | str]:
        """Return of every comparison that is asked for what has come of it, or how far it is."""
        return {name: self._state(name, wish) for name, wish in self._wishes.items()}

    async def close(self) -> None:
        """Stop comparing."""
        if self._running is not None:
            self._running[2].cancel()
            await asyncio.wait([self._running[2]])

    def _is_asked_for(self, name: str, pair: Pair) -> bool:
        return name in self._wishes and self._wishes[name].pair.is_still(pair)

    def _state(self, name: str, wish: Wish) -> state.Comparison | str:
        _, known = self._known.get(name, (None, ""))
        if isinstance(known, state.Comparison):
            return known
        return f"waiting: {wish.waits_for}" if wish.waits_for else known or "waiting for its turn"

    def _is_made(self, name: str) -> bool:
        return name in self._known and isinstance(self._known[name][1], state.Comparison)

    def _start_next(self) -> None:
        for name, wish in sorted(self._wishes.items()):
            if not wish.waits_for and not self._is_made(name):
                self._running = (name, wish.pair, asyncio.create_task(self._make(name, wish)))
                return

    def _finish(self, name: str, pair: Pair, task: asyncio.Task[None]) -> None:
        """Take note of the end of a comparison; a fault of ours in it must not hurt what serves."""
        self._running = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Comparison failed", exc_info=error, extra={"candidate": name})
            self._not_before = time.monotonic() + RETRY_SECONDS
            self._known[name] = (pair, f"failed, and made again soon: {type(error).__name__}: {error}")

    async def _make(self, name: str, wish: Wish) -> None:
        def tell(found: state.Comparison | str) -> None:
            self._known[name] = (wish.pair, found)
            self.news.set()

        promoted, candidate = wish.pair.promoted, wish.pair.candidate
        if wish.requests is None:
            tell(state.Comparison(candidate.version, promoted.version, message="neither version has warmup requests"))
            return
        path = self._directory(wish.requests.model, wish.requests.version)
        if path is None:
            return  # it has gone since the look, and the next look says so
        log.info("Comparing", extra={"candidate": name, "version": candidate.version, "promoted": promoted.version})
        tell("comparing")
        job = compare.Job(promoted, candidate, *os.path.split(path))
        try:
            found = await compare.compare(self._server, job, lambda records: tell(f"comparing: {records} requests so far"))
        except compare.Interrupted as error:
            log.warning("Comparison interrupted", extra={"candidate": name, "reason": str(error)})
            self._not_before = time.monotonic() + RETRY_SECONDS
            tell(f"interrupted, and made again soon: {error}")
            return
        log.info("Compared", extra={"candidate": name, "records": found.records, "answer": found.message})
        tell(found)
