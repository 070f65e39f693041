"""A work queue of keys, as controllers use it: a key waits at most once, and never runs twice at the same time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """Keys to work on. A key added while it runs runs once more afterwards; a delayed add gives way to an earlier one.

    Args:
        goes_first: Tells of a key on which others wait: it overtakes the last :data:`HEAD_START` that were added before it, and
            no more, so that it holds up none for ever.
    """

    BACKOFF_SECONDS = (0.5, 60.0)
    HEAD_START = 10_000

    def __init__(self, goes_first: Callable[[K], bool] = lambda key: False) -> None:
        self._ready: asyncio.PriorityQueue[tuple[int, int, K | None]] = asyncio.PriorityQueue()
        self._goes_first = goes_first
        self._count = itertools.count(1)
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._closed = False

    def __len__(self) -> int:
        """Return how many keys wait for a worker."""
        return len(self._queued)

    def add(self, key: K) -> None:
        """Have ``key`` worked on as soon as a worker is free."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._put(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Have ``key`` worked on in ``seconds``, or when it was due already, whichever is earlier."""
        loop = asyncio.get_running_loop()
        if key in self._queued or key in self._again:
            return
        timer = self._timers.get(key)
        if timer is None or timer.when() > loop.time() + seconds:
            if timer is not None:
                timer.cancel()
            self._timers[key] = loop.call_later(seconds, self.add, key)

    def retry(self, key: K) -> float:
        """Have a key whose work failed tried again after a delay that doubles each time; return it in seconds."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        first, last = self.BACKOFF_SECONDS
        seconds = min(last, first * 2.0 ** min(count - 1, 30)) * random.uniform(0.75, 1.0)  # noqa: S311 nothing secret
        self.add_after(key, seconds)
        return seconds

    def retry_now(self) -> None:
        """Have all keys whose work failed tried again at once: what they failed for is over."""
        for key in self._failures:
            self.add(key)

    def forget(self, key: K) -> None:
        """The work on ``key`` went well: the next failure is a first one."""
        self._failures.pop(key, None)

    def close(self) -> None:
        """Have no more work begun: workers end when they are through with what they are at."""
        self._closed = True
        self._put(None)

    def _put(self, key: K | None) -> None:
        number = next(self._count)
        self._ready.put_nowait((number - self.HEAD_START * (key is None or self._goes_first(key)), number, key))

    async def work(self, do: Callable[[K], Awaitable[None]]) -> None:
        """Take keys and do their work until the queue is closed. What ``do`` raises ends the worker."""
        while True:
            _, _, key = await self._ready.get()
            if key is None or self._closed:
                self._put(None)  # for the next worker
                return
            self._queued.discard(key)
            self._running.add(key)
            try:
                await do(key)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
