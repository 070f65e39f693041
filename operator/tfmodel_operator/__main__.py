"""`python -m tfmodel_operator`: wires the watches, the queue, the workers and the probes together and runs them."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any, cast

import aiohttp
import kopf
import uvloop
from aiohttp import web

from tfmodel_operator import handlers, reconcile, settings
from tfmodel_operator.api import labels
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.store import Key, Store
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.plan.platform import Platform
from tfmodel_operator.workqueue import WorkQueue
from tfmodel_serving import json_logging

STOP_SECONDS = 10.0
RECONNECT_SECONDS = 2.0

log = logging.getLogger(__name__)


async def run(configured: settings.Settings) -> None:
    """Run until SIGTERM. The end of any part ends the process: a pod that restarts is better than one that half works."""
    store, queue = Store(), WorkQueue[Key]()
    kopf_settings = handlers.settings()
    client = ApiClient(lambda: handlers.login(settings=kopf_settings))
    stop, ready = asyncio.Event(), asyncio.Event()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False) as http:
        world = reconcile.World(
            store,
            client,
            Applier(client, store),
            Agents(http, queue.add),
            Platform(configured.agent_image, configured.own_namespace),
        )
        # kopf cancels every task started after its own: all of ours are started before.
        synced = asyncio.Event()
        workers = [asyncio.create_task(_work(world, queue, synced)) for _ in range(configured.workers)]
        probes = asyncio.create_task(_serve_probes(configured, synced))
        filling = asyncio.create_task(_fill(client, store, queue, configured.namespaces, synced))
        watches = asyncio.create_task(
            kopf.operator(
                registry=handlers.registry(store, queue),
                settings=kopf_settings,
                clusterwide=not configured.namespaces,
                namespaces=configured.namespaces,
                identity=cast(Any, "tfmodel-operator"),  # kopf would look our user up, who has no name in the image
                standalone=True,
                stop_flag=stop,
                ready_flag=ready,
            )
        )
        signals = asyncio.create_task(_own_signals(stop, ready))
        try:
            done, _ = await asyncio.wait([*workers, probes, watches], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not stop.is_set():
                raise RuntimeError("a part of the operator ended by itself")
        finally:
            stop.set()
            for task in (*workers, probes, signals, filling):
                task.cancel()
            await asyncio.wait([watches, *workers, probes, signals, filling], timeout=STOP_SECONDS)
            await client.close()
    log.info("Operator stopped")


async def _work(world: reconcile.World, queue: WorkQueue[Key], synced: asyncio.Event) -> None:
    """Reconcile keys, once all that exists is known; what the API server could not answer is tried again with back-off."""

    async def one(key: Key) -> None:
        try:
            seconds = await reconcile.reconcile(key, world)
            queue.forget(key)
            if seconds is not None:
                queue.add_after(key, seconds)
        except errors.ApiError as error:
            seconds = queue.retry(key)
            log.warning("Will try again", extra={"tfmodel": "/".join(key), "error": str(error), "in_seconds": seconds})

    await synced.wait()
    await queue.work(one)


async def _own_signals(stop: asyncio.Event, ready: asyncio.Event) -> None:
    """Stop at SIGTERM; kopf installs a handler of its own while it starts, which is taken over again."""

    def install() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    install()
    await ready.wait()
    install()


async def _fill(client: ApiClient, store: Store, queue: WorkQueue[Key], namespaces: Sequence[str], synced: asyncio.Event) -> None:
    """Fill the store with all that exists, then set ``synced``; say why as long as the API server doesn't let us.

    The watches do the same, and don't tell when they are through: deciding on half of what exists would undo the other half.
    """
    while not synced.is_set():
        try:
            for kind in handlers.KINDS:
                for namespace in namespaces or (None,):
                    selector = "" if kind == "TFModel" else labels.SERVER
                    async for body in client.list(kind, namespace, selector):
                        if (key := store.upsert(kind, body)) is not None:
                            queue.add(key)
            synced.set()
            log.info("Synced", extra={"tfmodels": len(store.models())})
        except errors.ApiError as error:
            log.warning("Can't list what exists; will try again", extra={"error": str(error)})
            await asyncio.sleep(RECONNECT_SECONDS)


async def _serve_probes(configured: settings.Settings, synced: asyncio.Event) -> None:
    """Answer /livez (the event loop turns) and /readyz (all that exists is known)."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if synced.is_set() else 503, text="ok\n" if synced.is_set() else "starting\n")

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, configured.host, configured.port).start()
    log.info("Operator started", extra={"port": configured.port})
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    json_logging.configure()
    logging.getLogger("kopf").setLevel(logging.WARNING)
    uvloop.run(run(settings.parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
