"""The agent's HTTP interface: probes for the kubelet, state for the operator. It changes nothing."""

from __future__ import annotations

import hashlib
import json

from aiohttp import web

from tfmodel_agent.loop import Agent
from tfmodel_serving import state


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
        return web.Response(status=200 if current.ready else 503, text=f"{current.suspect or current.server_message or current.step}\n")

    async def v1_state(request: web.Request) -> web.Response:
        body = json.dumps(state.to_dict(agent.state), sort_keys=True)
        tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return web.Response(text=body, content_type="application/json", headers={"ETag": tag})

    app = web.Application(client_max_size=1024)
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/livez/server", livez_server),
            web.get("/readyz", readyz),
            web.get("/v1/state", v1_state),
        ]
    )
    return app
