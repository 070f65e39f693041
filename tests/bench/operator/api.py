"""A small asynchronous client of the API server over dicts, for the benchmark and its agents. Not the operator's own: what is
measured doesn't measure itself.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from tests.cluster.certificates import Certificates

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
RECONNECT_SECONDS = 0.5
T = TypeVar("T")


class ApiError(Exception):
    """The API server refused; carries its message."""


class Api:
    """The API server as the administrator, whom flow control exempts."""

    def __init__(self, url: str, certificates: Path) -> None:
        made = Certificates(certificates)
        self._ssl = ssl.create_default_context(cafile=str(made.certificate("ca")))
        self._ssl.load_cert_chain(made.certificate("admin"), made.key("admin"))
        self._url = url

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._ssl)
        self._session = aiohttp.ClientSession(self._url, connector=connector, read_bufsize=1 << 20,
                                              timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def get(self, path: str) -> dict[str, Any]:
        """Return one object."""
        return await self._request("GET", path)

    async def patch(self, path: str, body: Mapping[str, Any], content_type: str = APPLY) -> dict[str, Any]:
        """Patch one object, by default by server-side apply, and return it."""
        params = {"fieldManager": "bench", "force": "true"} if content_type == APPLY else {}
        return await self._request("PATCH", path, params=params, data=json.dumps(body), headers={"Content-Type": content_type})

    async def delete(self, path: str) -> None:
        """Delete one object, its children in the background."""
        await self._request("DELETE", path, params={"propagationPolicy": "Background"})

    async def list(self, path: str, selector: str = "") -> tuple[list[dict[str, Any]], str]:
        """Return all objects below ``path`` as of some resource version, and that version."""
        found = await self._request("GET", path, params={"labelSelector": selector})
        return found["items"], found["metadata"]["resourceVersion"]

    async def follow(self, path: str, selector: str = "") -> AsyncIterator[tuple[bool, dict[str, Any]]]:
        """Yield (is there, object) for every object and every change, for ever; what went in a gap is told as gone."""
        known: dict[str, dict[str, Any]] = {}
        while True:
            try:
                items, version = await self.list(path, selector)
                now = {item["metadata"]["uid"]: item for item in items}
                for uid in known.keys() - now.keys():
                    yield False, known.pop(uid)
                for uid, item in now.items():
                    known[uid] = item
                    yield True, item
                async for kind, item in self._watch(path, selector, version):
                    known[item["metadata"]["uid"]] = item
                    if kind == "DELETED":
                        del known[item["metadata"]["uid"]]
                    yield kind != "DELETED", item
            except (aiohttp.ClientError, TimeoutError, ApiError, ValueError):  # also where a watch breaks off within a line
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _watch(self, path: str, selector: str, version: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        params = {"watch": "true", "labelSelector": selector, "resourceVersion": version}
        async with self._session.get(path, params=params, timeout=aiohttp.ClientTimeout(sock_connect=10)) as response:
            response.raise_for_status()  # another resource version is needed, or the server is not ready yet
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(event["object"].get("message", ""))
                yield event["type"], event["object"]

    async def _request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        async with self._session.request(method, path, **arguments) as response:
            text = await response.text()
        if response.status >= 300:
            raise ApiError(f"{method} {path}: HTTP {response.status}: {text[:500]}")
        document = json.loads(text)
        assert isinstance(document, dict)
        return document


async def each(values: Iterable[T], do: Callable[[T], Awaitable[object]], at_once: int = 16) -> None:
    """Await ``do`` for all values, some at once; the first error ends it."""
    waiting = iter(values)

    async def work() -> None:
        for value in waiting:
            await do(value)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
