"""The other end of a connection, answered by the test: an API server, or an agent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.rate_limit import RateLimit

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Nobody:
    """Credentials for a server that asks for none."""

    def __init__(self, server: str) -> None:
        self.server = server

    def as_ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def as_http_headers(self) -> dict[str, str]:
        return {}


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Answer requests by ``handler``; yield the URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def api(handler: Handler) -> AsyncIterator[ApiClient]:
    """Yield a client of an API server that answers by ``handler``."""
    async with serving(handler) as url:
        client = ApiClient(lambda: Nobody(url), RateLimit(10_000, 10_000))
        try:
            yield client
        finally:
            await client.close()


def status(code: int, message: str = "no", **headers: str) -> web.Response:
    """An error as the API server says it."""
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code, headers=headers)


def page(items: list[dict], version: int, token: str = "") -> web.Response:
    return web.json_response({"metadata": {"resourceVersion": str(version), "continue": token}, "items": items})


async def stream(request: web.Request, *events: tuple[str, dict], until: asyncio.Event | None = None) -> web.StreamResponse:
    """Answer a watch by events; it ends when ``until`` is set (None: at once)."""
    response = web.StreamResponse()
    await response.prepare(request)
    for what, body in events:
        await response.write(json.dumps({"type": what, "object": body}).encode() + b"\n")
    if until is not None:
        await until.wait()
    return response


def run(test: Callable[[], Awaitable[None]], seconds: float = 20) -> None:
    """Run a test's coroutine, for a bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await test()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 what is under test has no event to wait for
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*parts: Awaitable[None]) -> AsyncIterator[list[asyncio.Task]]:
    """Run parts beside the test; what one raises, the test raises."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        yield tasks
        for task in tasks:
            if task.done() and not task.cancelled():
                await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
