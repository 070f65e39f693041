"""The operator's HTTP interface: probes for the kubelet, metrics for Prometheus."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NoReturn

import prometheus_client
from aiohttp import web

BEAT_SECONDS = 1.0
LAG_SECONDS = 30.0
"""An event loop that is later than this does not keep up any more, or has not for a while."""

log = logging.getLogger(__name__)


class Health:
    """What the probes say.

    Args:
        unsynced: Returns what of the cluster isn't known yet; nothing: all is.
        stuck: Returns which part hasn't come round for too long; nothing: none.
        limited: Returns what is left out although it should not be; nothing: nothing.
    """

    def __init__(self, unsynced: Callable[[], str], stuck: Callable[[], str], limited: Callable[[], str] = lambda: "") -> None:
        self.unsynced = unsynced
        self.limited = limited
        self._stuck = stuck
        self._beat = time.monotonic()

    async def run(self) -> NoReturn:
        """Measure how late the event loop is, for ever."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def failing(self) -> str:
        """Return why a restart would help; ``""`` if it would not."""
        late = time.monotonic() - self._beat - BEAT_SECONDS
        return f"the event loop is {late:.0f} s late" if late > LAG_SECONDS else self._stuck()


async def serve(host: str, port: int, health: Health, registry: prometheus_client.CollectorRegistry) -> NoReturn:
    """Answer /livez (nothing hangs), /readyz (all that exists is known) and /metrics, for ever."""

    async def livez(_: web.Request) -> web.Response:
        return _answer(health.failing())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.unsynced(), health.limited())

    async def metrics(_: web.Request) -> web.Response:
        body = prometheus_client.generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        log.info("Operator started", extra={"addresses": [list(address[:2]) for address in runner.addresses]})
        while True:  # noqa: ASYNC110 until cancelled
            await asyncio.sleep(3600)
    finally:
        await runner.cleanup()


def _answer(problem: str, limited: str = "") -> web.Response:
    fine = f"ok, {limited}" if limited else "ok"
    return web.Response(status=503 if problem else 200, text=f"{problem or fine}\n")
