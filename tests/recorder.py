"""Records every revision of TFModels and of what they own, and all that their agents say, while a test goes on.

All objects are in one etcd: their resource versions are one sequence, so that the state of everything at any revision is known.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self

import aiohttp

from tests.cluster import EmbeddedCluster, binaries

KINDS = "tfmodels,deployments,configmaps,pods"
AGENT_PORT = 8502


@dataclasses.dataclass(frozen=True)
class Revision:
    """One object as it was from ``at`` on (monotonic seconds); None as ``body`` means that it was deleted."""

    kind: str
    name: str
    version: int
    at: float
    body: dict[str, Any] | None


@dataclasses.dataclass(frozen=True)
class Word:
    """What the agent of one pod said from ``at`` on; None: it didn't answer."""

    at: float
    state: dict[str, Any] | None


class Recorder:
    """Records one namespace while in use."""

    def __init__(self, cluster: EmbeddedCluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self.revisions: list[Revision] = []
        self.words: dict[str, list[Word]] = {}  # by the pod's UID
        self._followed: set[str] = set()
        self._stop = threading.Event()
        self._watches: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for kind in KINDS.split(","):
            kubectl = [str(binaries.kubernetes_command("kubectl")), "-n", self._namespace, "get", kind, "-o", "json", "--watch", "--output-watch-events"]
            watch = subprocess.Popen(kubectl, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self._cluster.environment())
            self._watches.append(watch)
            self._start(self._read, watch)
        self._start(lambda: asyncio.run(self._follow_agents()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for watch in self._watches:
            watch.terminate()
            watch.wait(10)
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Any, *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _read(self, watch: subprocess.Popen[str]) -> None:
        assert watch.stdout
        for event in documents(watch.stdout):
            body = event["object"]
            deleted, metadata = event["type"] == "DELETED", body["metadata"]
            made = Revision(body["kind"], metadata["name"], int(metadata["resourceVersion"]), time.monotonic(), None if deleted else body)
            self.revisions.append(made)

    async def _follow_agents(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            tasks: list[asyncio.Task[None]] = []
            while not self._stop.is_set():
                for revision in [*self.revisions]:
                    if revision.kind == "Pod" and revision.body and (address := revision.body.get("status", {}).get("podIP")):
                        uid = revision.body["metadata"]["uid"]
                        if uid not in self._followed:
                            self._followed.add(uid)
                            tasks.append(asyncio.create_task(self._follow(http, uid, address)))
                await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()

    async def _follow(self, http: aiohttp.ClientSession, uid: str, address: str) -> None:
        words, tag = self.words.setdefault(uid, []), ""
        while True:
            headers, params = ({"If-None-Match": tag}, {"wait": "5"}) if tag else ({}, {})
            try:
                url, timeout = f"http://{address}:{AGENT_PORT}/v1/state", aiohttp.ClientTimeout(total=8)
                async with http.get(url, headers=headers, params=params, timeout=timeout) as answer:
                    state = (await answer.json() if answer.status == 200 else words[-1].state) if answer.status in {200, 304} else None
                    tag = answer.headers.get("ETag", "")
            except (aiohttp.ClientError, TimeoutError, ValueError):
                state, tag = None, ""
            if state is not None and state.get("pod_uid") != uid:
                state = None
            if not words or words[-1].state != state:
                words.append(Word(time.monotonic(), state))
            await asyncio.sleep(0.02 if tag else 0.1)


def documents(stream: Iterable[str]) -> Iterator[Any]:
    """Yield the JSON documents of a stream as they come, whether each is a line or ends with a brace on a line of its own."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if line.startswith(("}", '{"')):
            yield json.loads("".join(lines))
            lines = []


def replay(revisions: list[Revision]) -> Iterator[tuple[Revision, dict[tuple[str, str], Revision]]]:
    """Yield each revision with all objects as they were at it, in the order in which they really came."""
    objects: dict[tuple[str, str], Revision] = {}
    for _, group in itertools.groupby(sorted(revisions, key=lambda revision: revision.version), key=lambda revision: revision.version):
        for revision in group:
            objects[revision.kind, revision.name] = revision
            if revision.body is None:
                del objects[revision.kind, revision.name]
            yield revision, dict(objects)
