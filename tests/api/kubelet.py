"""What plays kubelets and agents where there are no nodes: the pods that the real Deployment controller makes get addresses of
this machine's loopback, at which the agents of the benchmark answer, and are ready when these say so.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.bench.operator import agents
from tests.bench.operator.api import MERGE, Api, ApiError
from tests.bench.operator.fleet import Fleet, Pod
from tests.cluster import EmbeddedCluster

LOOK_SECONDS = 0.05


class Kubelets:
    """All pods of model servers in one namespace; lives in a thread of its own.

    Args:
        fleet: What the agents say; by default versions 1, 2 and 3 are there, and can be loaded.

    Attributes:
        absent: Names of PersistentVolumeClaims that don't exist; pods that want one never start.
    """

    def __init__(self, cluster: EmbeddedCluster, namespace: str, fleet: Fleet | None = None) -> None:
        self._cluster, self._namespace, self._fleet = cluster, namespace, fleet or Fleet(volume=(1, 2, 3))
        self._addresses = (f"127.{1 + os.getpid() % 250}.{high}.{low}" for high, low in itertools.product(range(250), range(1, 250)))
        self.absent: set[str] = set()
        self._said: dict[str, bool] = {}
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def drop(self, version: int) -> None:
        """A version, complete, comes on the volume."""
        self._loop.call_soon_threadsafe(self._fleet.drop, version)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(agents.application(self._fleet), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        async with Api(self._cluster.url, self._cluster.state.plane.certificates.directory) as api:
            parts = [asyncio.create_task(part) for part in (self._pods(api, runner), self._configs(api), self._probe(api))]
            self._begun.set()
            await asyncio.wait([*parts, asyncio.create_task(self._stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        await runner.cleanup()

    async def _pods(self, api: Api, runner: web.AppRunner) -> None:
        async for exists, body in api.follow(f"/api/v1/namespaces/{self._namespace}/pods", agents.SELECTOR):
            if exists and claims(body) & self.absent:
                continue
            if exists and not body.get("status", {}).get("podIP"):
                await self._start(api, runner, body)
            else:
                self._fleet.see_pod(exists, body)

    async def _configs(self, api: Api) -> None:
        async for exists, body in api.follow(f"/api/v1/namespaces/{self._namespace}/configmaps", agents.SELECTOR):
            self._fleet.see_config(exists, body)

    async def _start(self, api: Api, runner: web.AppRunner, body: dict[str, Any]) -> None:
        address = next(self._addresses)
        await web.TCPSite(runner, address, agents.AGENT_PORT).start()
        started = {"name": "agent", "ready": True, "started": True, "restartCount": 0, "image": "i", "imageID": "i", "state": {"running": {}}}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "initContainerStatuses": [started]}
        await self._patch(api, body["metadata"], {**status, "conditions": conditions(ready=False)})

    async def _probe(self, api: Api) -> None:
        """Call each pod ready as long as its agent does."""
        while True:
            for pod in list(self._fleet.pods.values()):
                ready = bool(json.loads(pod.body)["ready"])
                if self._said.get(pod.uid, False) is not ready:
                    self._said[pod.uid] = ready
                    await self._patch(api, self._metadata(pod), {"conditions": conditions(ready=ready)})
            await asyncio.sleep(LOOK_SECONDS)

    def _metadata(self, pod: Pod) -> dict[str, Any]:
        return {"name": pod.name, "uid": pod.uid}

    async def _patch(self, api: Api, metadata: dict[str, Any], status: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{metadata['name']}/status"
        try:
            await api.patch(path, {"metadata": {"uid": metadata["uid"]}, "status": status}, MERGE)
        except ApiError as error:
            if "HTTP 404" not in str(error) and "HTTP 409" not in str(error):
                raise  # else it is gone meanwhile


def claims(pod: dict[str, Any]) -> set[str]:
    volumes = pod["spec"].get("volumes", [])
    return {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}


def conditions(*, ready: bool) -> list[dict[str, str]]:
    word = "True" if ready else "False"
    return [{"type": kind, "status": "True" if kind == "PodScheduled" else word} for kind in ("PodScheduled", "ContainersReady", "Ready")]
