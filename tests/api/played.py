"""Pods that run, without a node: a thread plays their kubelet, which says they are ready, and their agents.

The agents answer at loopback addresses, which the pods' statuses name. What they say is built as in the benchmark.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.bench.operator.agents import AGENT_PORT, SELECTOR, application
from tests.bench.operator.api import MERGE, Api, ApiError
from tests.bench.operator.fleet import Fleet, Pod, agent_state, wanted_versions
from tests.cluster import EmbeddedCluster
from tfmodel_serving import agent_config, model_config

_addresses = itertools.count(2)


class Agents(Fleet):
    """Agents whose model servers can't load some models.

    Args:
        broken: Names of models that stay LOADING; a change counts from the next config on, or from :meth:`again`.
        empty: Base paths without a version: what such an agent was given last is not served any more, as after a restart.
    """

    def __init__(self) -> None:
        super().__init__(volume=(1,))
        self.broken: set[str] = set()
        self.empty: set[str] = set()

    def again(self) -> None:
        """Have all agents look at their model servers once more."""
        for pod in self.pods.values():
            if pod.mounted is not None:
                self._serve(pod)

    def _serve(self, pod: Pod) -> None:
        assert pod.mounted is not None
        models = model_config.from_text(pod.mounted["models.config"])
        digest = agent_config.content_hash(pod.mounted["models.config"], pod.mounted["agent.json"])
        volumes = {model.name: () if model.base_path in self.empty else self.volume for model in models}
        wanted = {(model.name, version) for model in models for version in wanted_versions(model, volumes[model.name])}
        pod.available = frozenset((name, version) for name, version in wanted if name not in self.broken)
        pod.publish(agent_state(pod.uid, digest, models, volumes, pod.available, settled=pod.available == wanted, incomplete={}))


class Played:
    """The kubelet and the agents of the pods in one namespace, while the block runs."""

    def __init__(self, cluster: EmbeddedCluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop, self._goes_on = asyncio.Event(), asyncio.Event()
        self._goes_on.set()
        self.agents = Agents()

    def __enter__(self) -> Played:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)

    def break_models(self, *names: str) -> None:
        """Have these models, and no others, fail to load from now on."""

        def apply() -> None:
            self.agents.broken = set(names)
            self.agents.again()

        self._loop.call_soon_threadsafe(apply)

    def empty(self, *base_paths: str) -> None:
        """Have no version below these base paths, and below no others, from now on."""

        def apply() -> None:
            self.agents.empty = set(base_paths)
            self.agents.again()

        self._loop.call_soon_threadsafe(apply)

    def hold(self) -> None:
        """Start no pods, and hear of none, until :meth:`go_on`."""
        self._loop.call_soon_threadsafe(self._goes_on.clear)

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._goes_on.set)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with Api(self._cluster.url, self._cluster.state.plane.certificates.directory) as api:
            self._runner = web.AppRunner(application(self.agents), access_log=None, shutdown_timeout=0)
            await self._runner.setup()
            following = [asyncio.create_task(self._follow_pods(api)), asyncio.create_task(self._follow_configs(api))]
            done, _ = await asyncio.wait([*following, asyncio.create_task(self._stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            for one in following:
                one.cancel()
            await asyncio.wait(following)
            for one in done:
                one.result()  # what ended by itself has failed: pytest tells of it
            await self._runner.cleanup()

    async def _follow_pods(self, api: Api) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        async for exists, body in api.follow(path, SELECTOR):
            await self._goes_on.wait()
            if exists and not body.get("status", {}).get("podIP") and "deletionTimestamp" not in body["metadata"]:
                with contextlib.suppress(ApiError):  # it may be gone by now
                    await self._start(api, f"{path}/{body['metadata']['name']}/status")
                continue
            self.agents.see_pod(exists, body)

    async def _start(self, api: Api, path: str) -> None:
        number = next(_addresses)
        address = f"127.{64 + os.getpid() % 128}.{number // 250}.{number % 250 + 1}"  # other runs have addresses of their own
        await web.TCPSite(self._runner, address, AGENT_PORT).start()
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
        agent = {"name": "agent", "ready": True, "started": True, "restartCount": 0, "image": "a", "imageID": "a", "state": {"running": {}}}
        server = {**agent, "name": "model-server"}
        status: dict[str, Any] = {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions,
            "initContainerStatuses": [agent], "containerStatuses": [server],
        }  # fmt: skip
        await api.patch(path, {"status": status}, MERGE)

    async def _follow_configs(self, api: Api) -> None:
        async for exists, body in api.follow(f"/api/v1/namespaces/{self._namespace}/configmaps", SELECTOR):
            self.agents.see_config(exists, body)


@contextlib.contextmanager
def played(cluster: EmbeddedCluster, namespace: str) -> Iterator[Played]:
    with Played(cluster, namespace) as made:
        yield made
