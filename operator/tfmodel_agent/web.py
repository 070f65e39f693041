"""The agent's HTTP interface: probes for the kubelet, state for the operator. Only a drain changes anything."""

from __future__ import annotations

import hmac

import prometheus_client
from aiohttp import web

from tfmodel_agent import body
from tfmodel_agent.loop import Agent

MAX_WAIT_SECONDS = 300.0
TOKEN_HEADER = "X-Drain-Token"  # noqa: S105 a header's name


def application(agent: Agent) -> web.Application:
    """Return the application answering for ``agent``."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def livez_server(_: web.Request) -> web.Response:
        if agent.suspect:
            return web.Response(status=503, text=f"{agent.suspect}\n")
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        current = agent.state
        if agent.drain.active:
            return web.Response(status=503, text="draining\n")
        return web.Response(
            status=200 if current.ready else 503, text=f"{current.suspect or current.server_message or current.step}\n"
        )

    async def v1_state(request: web.Request) -> web.Response:
        """Answer with the state; with `If-None-Match` and `?wait=SECONDS`, when it is another one or the time is up."""
        text, tag = encoded()
        if request.headers.get("If-None-Match") == tag:
            await agent.wait_for_change(wait_seconds(request))
            text, now = encoded()
            if now == tag:
                return web.Response(status=304, headers={"ETag": tag})
            tag = now
        return web.Response(text=text, content_type="application/json", headers={"ETag": tag})

    async def drain(request: web.Request) -> web.Response:
        """Take the pod out of its Services and answer when clients are gone; for the kubelet, which knows the token."""
        token = agent.settings.drain_token
        if not token or not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), token.encode()):
            return web.Response(status=403, text="the drain token is missing or wrong\n")
        left = await agent.drain.run()
        return web.Response(text=f"drained; {left} connections left\n")

    async def metrics(_: web.Request) -> web.Response:
        text = prometheus_client.generate_latest(agent.metrics.registry)
        return web.Response(body=text, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    last = (agent.state, body.encode(agent.state))

    def encoded() -> tuple[str, str]:
        nonlocal last
        if last[0] is not agent.state:
            last = (agent.state, body.encode(agent.state))
        return last[1]

    def wait_seconds(request: web.Request) -> float:
        try:
            return max(0.0, min(MAX_WAIT_SECONDS, float(request.query.get("wait", "0"))))
        except ValueError:
            return 0.0

    app = web.Application(client_max_size=1024)
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/livez/server", livez_server),
            web.get("/readyz", readyz),
            web.get("/v1/state", v1_state),
            web.get("/drain", drain),
            web.get("/metrics", metrics),
        ]
    )
    return app
