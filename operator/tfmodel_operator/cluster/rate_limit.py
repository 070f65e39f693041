"""How fast we may ask the API server."""

from __future__ import annotations

import asyncio
import time


class RateLimit:
    """A token bucket: ``burst`` calls at once, ``qps`` a second in the long run."""

    PAUSE_SECONDS = 30.0
    """The longest pause an API server can ask for: one that means more is better asked again."""

    def __init__(self, qps: float, burst: int) -> None:
        self._interval = 1.0 / qps
        self._credit = burst * self._interval
        self._free_at = time.monotonic() - self._credit

    async def wait(self) -> None:
        """Return when a call may be made; calls go in the order in which they asked."""
        now = time.monotonic()
        self._free_at = max(self._free_at + self._interval, now - self._credit)
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    def pause(self, seconds: float) -> None:
        """Make no call for so long, as the API server asked by `Retry-After`."""
        self._free_at = max(self._free_at, time.monotonic() + min(seconds, self.PAUSE_SECONDS))
