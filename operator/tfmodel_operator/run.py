"""Wires feeds, queue, workers, election and probes together, and runs them as one: the end of any part ends the process.

A pod that restarts is better than one that half works. All replicas watch and know everything; the one that holds the Lease
works.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from typing import Any, cast

import aiohttp
import kopf

from tfmodel_operator import handlers, metrics, settings, web
from tfmodel_operator.api import kinds, labels
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.feed import Feed
from tfmodel_operator.cluster.lease import Elector
from tfmodel_operator.cluster.rate_limit import RateLimit
from tfmodel_operator.cluster.reflector import Reflector
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.cluster.strangers import Strangers
from tfmodel_operator.cluster.sweep import Sweep
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.plan.platform import Platform
from tfmodel_operator.worker import Worker
from tfmodel_operator.workqueue import WorkQueue
from tfmodel_operator.world import World

PASS_SECONDS = 10.0
"""The passes that are under way when we are asked to stop may take so long to finish."""
STOP_SECONDS = 10.0
SHARED_SECONDS = 0.25
"""A shared server is looked at so long after the first of several changes: each would be a write of its ConfigMap."""
SHARED_BUSY_SECONDS, BUSY_KEYS = 2.0, 20
"""So long while so many keys wait: models are coming in numbers. Its pass goes before theirs, and would be about few of them."""

log = logging.getLogger(__name__)


class PartEnded(Exception):
    """A part that should run as long as the process has ended by itself."""


async def run(configured: settings.Settings) -> None:
    """Run until SIGTERM.

    Raises:
        PartEnded: Something that must run does not.
        cluster.lease.LeaseLost, cluster.reflector.HistoryRewritten: See there.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http:
        operator = _Operator(configured, http)
        try:
            await operator.run()
        finally:
            await operator.close()
    log.info("Operator stopped")


class _Operator:
    """All parts of one operator process."""

    def __init__(self, configured: settings.Settings, http: aiohttp.ClientSession) -> None:
        self._configured = configured
        self._kopf_settings = handlers.settings()
        self._metrics = metrics.Metrics(configured.agent_image)
        self._client = self._api_client(RateLimit(configured.qps, configured.burst))
        self._lease_client = self._api_client(RateLimit(10, 10))  # an election must not wait for anything else
        self._queue, store = WorkQueue[Key](_is_shared), Store()
        self._feed = Feed(store, self._concerned)
        self._follow_cluster()
        namespace = configured.own_namespace or self._login().default_namespace or "default"
        self._elector = Elector(self._lease_client, namespace, configured.lease, configured.identity)
        self._client.may_write = self._elector.holds
        self._recorder = Recorder(self._client, configured.identity)
        applier = Applier(self._client, store, Strangers(self._client), self._concerned)
        agents = Agents(http, self._heard)
        platform = Platform(configured.agent_image, configured.own_namespace)
        self._world = World(
            store,
            self._client,
            applier,
            agents,
            self._recorder,
            platform,
            busy=lambda: len(self._queue) > 0,
            tell=self._queue.add,
            knows=self._knows,
        )
        self._metrics.show(store, self._reflectors, self._sweeps, self._queue, self._elector.holds)
        self._leading, self._stop, self._stop_kopf, self._kopf_ready = (asyncio.Event() for _ in range(4))

    def _login(self) -> kopf.ConnectionInfo:
        return handlers.login(settings=self._kopf_settings)

    def _api_client(self, limit: RateLimit) -> ApiClient:
        return ApiClient(self._login, limit, self._metrics.count_request)

    def _follow_cluster(self) -> None:
        namespaces = self._configured.namespaces or (None,)
        self._sweeps = [Sweep(self._client, self._feed, namespaces, kind) for kind in kinds.WRITTEN]
        self._reflectors = [
            Reflector(self._client, self._feed, kind, namespace, recovered=self._recovered)
            for kind in kinds.WATCHED
            for namespace in namespaces
        ]

    def _recovered(self) -> None:
        """The API server is back: what it kept us from doing is due, and kopf may have missed something, too."""
        self._queue.retry_now()
        self._sweep_soon()

    def _sweep_soon(self) -> None:
        for sweep in self._sweeps:
            sweep.soon()

    def _concerned(self, key: Key) -> None:
        """Have a key looked at; a shared server in a moment, because models come in numbers."""
        if _is_shared(key):
            self._queue.add_after(key, SHARED_BUSY_SECONDS if self._is_busy() else SHARED_SECONDS)
        else:
            self._queue.add(key)

    def _heard(self, key: Key) -> None:
        """Have a key looked at of which an agent has told something; a shared server at once, unless models come in numbers."""
        if _is_shared(key) and self._is_busy():
            self._queue.add_after(key, SHARED_BUSY_SECONDS)
        else:
            self._queue.add(key)

    def _is_busy(self) -> bool:
        return len(self._queue) > BUSY_KEYS

    async def run(self) -> None:
        """Run all parts until we are asked to stop, or one of them ends."""
        # kopf cancels at its end every task that began after it, so it is the last.
        workers = [self._start("worker", self._work()) for _ in range(self._configured.workers)]
        election = self._start("election", self._lead())
        others = [self._start(name, part) for name, part in self._others()]
        watch = self._start("kopf", self._run_kopf())
        parts = [*workers, election, *others, watch]
        try:
            await self._until_stopped(parts)
            await self._finish(workers)
        finally:
            for part in [*workers, election]:
                part.cancel()
            await asyncio.wait([*workers, election])
            await self._elector.release()
            self._world.agents.close()  # kopf gives every task that is younger than itself five seconds to end
            self._stop_kopf.set()
            if all(sweep.listed.is_set() for sweep in self._sweeps):
                await asyncio.wait([watch], timeout=STOP_SECONDS)
            for part in [*others, watch]:
                part.cancel()
            await asyncio.wait(parts)

    async def close(self) -> None:
        """Close what needs closing."""
        await self._client.close()
        await self._lease_client.close()

    def _start(self, name: str, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(part, name=name)

    def _others(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        health, configured = web.Health(self._unsynced, self._stuck, self._refused), self._configured
        reflectors = [(f"reflector of {one.kind.plural}", one.run()) for one in self._reflectors]
        return [
            *reflectors,
            *((f"sweep of {one.kind.plural}", one.run()) for one in self._sweeps),
            ("recorder", self._recorder.run()),
            ("health", health.run()),
            ("web", web.serve(configured.host, configured.port, health, self._metrics.registry)),
            ("signals", self._follow_signals()),
        ]

    async def _work(self) -> None:
        await self._leading.wait()
        await Worker(self._world, self._queue, self._metrics).run()

    async def _lead(self) -> None:
        """Have the workers work for as long as the Lease is ours, once all that exists is known."""
        for known in (*(one.synced for one in self._sweeps), *(one.answered for one in self._reflectors)):
            await known.wait()
        log.info("Synced", extra={"tfmodels": len(self._world.store.models())})
        await self._elector.acquire()
        self._leading.set()
        await self._elector.keep(regained=self._queue.retry_now)

    async def _run_kopf(self) -> None:
        for sweep in self._sweeps:
            await sweep.listed.wait()
        await kopf.operator(
            registry=handlers.registry(self._feed, self._sweep_soon),
            settings=self._kopf_settings,
            clusterwide=not self._configured.namespaces,
            namespaces=self._configured.namespaces,
            identity=cast(Any, "tfmodel-operator"),  # kopf would look our user up, who has no name in the image
            standalone=True,
            stop_flag=self._stop_kopf,
            ready_flag=self._kopf_ready,
        )

    async def _until_stopped(self, parts: list[asyncio.Task[None]]) -> None:
        asked = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*parts, asked], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        for part in done - {asked}:
            await part
            raise PartEnded(f"{part.get_name()} ended by itself")

    async def _finish(self, workers: list[asyncio.Task[None]]) -> None:
        """Begin nothing new, and let the passes under way come to their end."""
        log.info("Stopping", extra={"waiting": len(self._queue)})
        self._queue.close()
        if self._leading.is_set():
            await asyncio.wait(workers, timeout=PASS_SECONDS)

    async def _follow_signals(self) -> None:
        """Stop at SIGTERM; kopf installs a handler of its own while it starts, which is taken over again."""

        def install() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

        install()
        await self._kopf_ready.wait()
        install()
        await asyncio.Event().wait()

    def _unsynced(self) -> str:
        lacking = {one.kind.plural for one in self._reflectors if not one.answered.is_set()}
        lacking |= {one.kind.plural for one in self._sweeps if not one.synced.is_set()}
        return f"not all is known yet of {', '.join(sorted(lacking))}" if lacking else ""

    def _refused(self) -> str:
        names = sorted(metrics.refused(self._reflectors, self._sweeps))
        return f"without {', '.join(names)}: the API server refuses us there" if names else ""

    def _knows(self, namespace: str) -> bool:
        """Tell whether all is known that exists in a namespace: what isn't known must not be taken for absent."""
        followers = [one for one in self._reflectors if one.namespace in {None, namespace}]
        refused = metrics.refused(self._reflectors, self._sweeps)
        return namespace not in refused and all(one.synced.is_set() for one in followers)

    def _stuck(self) -> str:
        age = time.monotonic() - min(one.finished for one in self._sweeps)
        return f"the last sweep ended {age:.0f} s ago" if age > 2 * Sweep.INTERVAL_SECONDS else ""


def _is_shared(key: Key) -> bool:
    """Tell whether a pass decides for many models: what each of them is to say follows from it."""
    return labels.is_shared(key[1])
