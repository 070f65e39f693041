"""``python -m tests.bench.operator.agents``: one process that is the agent of every pod.

It follows pods and ConfigMaps as a kubelet does, and answers at every pod's address with what that pod's agent would say.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from pathlib import Path

import uvloop
from aiohttp import web

from tests.bench.operator.api import Api
from tests.bench.operator.fleet import Fleet

AGENT_PORT = 8502
STATS_PORT = 8503
SELECTOR = "serving.tfmodel.dev/server"
MAX_WAIT_SECONDS = 300.0


def application(fleet: Fleet) -> web.Application:
    """Return the application that answers at all pod addresses."""
    async def v1_state(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the client has gone while its request was read
            return web.Response(status=404)
        address = transport.get_extra_info("sockname")[0]
        fleet.contacts[address] = time.monotonic()
        pod = fleet.by_address.get(address)
        if pod is not None and request.headers.get("If-None-Match") == pod.tag:
            tag = pod.tag
            await pod.wait(min(MAX_WAIT_SECONDS, float(request.query.get("wait", "0"))))
            if pod.tag == tag:
                return web.Response(status=304, headers={"ETag": tag})
        if pod is None or fleet.by_address.get(address) is not pod:  # Nobody is there, and nobody answers.
            transport.abort()
            return web.Response(status=404)
        pod.answered = time.monotonic()
        return web.Response(body=pod.body, content_type="application/json", headers={"ETag": pod.tag})

    app = web.Application()
    app.router.add_get("/v1/state", v1_state)
    return app


def stats(fleet: Fleet) -> web.Application:
    """Return the application for the benchmark: it tells who has been asked since ``?since=`` (of time.monotonic()), and takes
    a version ``?version=`` that comes on the volume of each ``&model=``, or of all models.
    """
    async def get(request: web.Request) -> web.Response:
        since = float(request.query.get("since", "0"))
        return web.json_response({
            "pods": len(fleet.pods), "answered": sum(pod.answered >= since for pod in fleet.pods.values()),
            "nobody": {address: at for address, at in fleet.contacts.items() if at >= since and address not in fleet.by_address}})

    async def drop(request: web.Request) -> web.Response:
        fleet.drop(int(request.query["version"]), request.query.getall("model", []))
        return web.Response()

    app = web.Application()
    app.router.add_get("/stats", get)
    app.router.add_get("/drop", drop)
    return app


async def serve(api: Api, fleet: Fleet) -> None:
    """Follow the cluster and answer, until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def follow_pods() -> None:
        async for exists, body in api.follow("/api/v1/pods", SELECTOR):
            fleet.see_pod(exists, body)

    async def follow_configs() -> None:
        async for exists, body in api.follow("/api/v1/configmaps", SELECTOR):
            fleet.see_config(exists, body)

    for app, host, port in ((application(fleet), "0.0.0.0", AGENT_PORT), (stats(fleet), "127.0.0.1", STATS_PORT)):
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=4096).start()
    following = [asyncio.create_task(follow_pods()), asyncio.create_task(follow_configs())]
    done, _ = await asyncio.wait([*following, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator.agents", description=__doc__)
    parser.add_argument("--server", required=True, help="URL of the API server")
    parser.add_argument("--certificates", type=Path, required=True, help="the cluster's directory of certificates")
    parser.add_argument("--loading-seconds", type=float, default=0.0, help="how long a version is LOADING (default: %(default)s)")
    parser.add_argument("--poll-seconds", type=float, default=0.0, help="between two looks of a server (default: %(default)s)")
    given = parser.parse_args()

    # It stands for as many processes as there are pods, on machines of their own: it must not wait for a core.
    os.setpriority(os.PRIO_PROCESS, 0, -10)

    async def run() -> None:
        async with Api(given.server, given.certificates) as api:
            await serve(api, Fleet(loading_seconds=given.loading_seconds, poll_seconds=given.poll_seconds))

    uvloop.run(run())


if __name__ == "__main__":
    main()
