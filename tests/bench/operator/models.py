"""TFModels by the hundred: made, changed, waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.bench.operator.api import MERGE, Api, each
from tests.cluster.errors import WaitTimeout

NAMESPACE = "bench"
CLAIM = "models"
PATH = f"/apis/serving.tfmodel.dev/v1alpha1/namespaces/{NAMESPACE}/tfmodels"


def manifest(number: int) -> dict[str, Any]:
    """Return the smallest TFModel there is."""
    name = f"model-{number:05}"
    return {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModel", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"source": {"persistentVolumeClaim": {"claimName": CLAIM, "path": name}}}}


class Models:
    """The TFModels of the benchmark, followed by a watch of its own.

    Args:
        make: Makes the manifest of a number.
    """

    def __init__(self, api: Api, count: int, make: Callable[[int], dict[str, Any]] = manifest) -> None:
        self._api, self.count, self._make = api, count, make
        self._wanted: dict[str, int] = {}  # name: the generation that was asked for
        self._ready: dict[str, int] = {}  # name: the generation that is Ready
        self._late: set[str] = set()
        self._none_late, self._since = asyncio.Event(), 0.0
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Models:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._following is not None
        self._following.cancel()
        await asyncio.wait([self._following])

    async def apply(self) -> None:
        """Apply them all, as ``kubectl apply --server-side`` would, some at once."""
        await each(range(self.count), self.apply_one)

    async def apply_one(self, number: int) -> None:
        """Apply one of them, or one more."""
        body = self._make(number)
        self._want(await self._api.patch(f"{PATH}/{body['metadata']['name']}", body))

    async def change(self, spec: Mapping[str, Any]) -> None:
        """Change the spec of all of them."""
        async def one(name: str) -> None:
            made = await self._api.patch(f"{PATH}/{name}", {"spec": spec}, MERGE)
            self._want(made)

        await each(list(self._wanted), one)

    async def delete(self, count: int) -> list[str]:
        """Delete the first ``count`` of them; return their names."""
        names = sorted(self._wanted)[:count]
        for name in names:
            await self._api.delete(f"{PATH}/{name}")
            del self._wanted[name]
        return names

    async def all_ready(self, seconds: float) -> float:
        """Return when the last one became Ready at the generation asked for, of time.monotonic().

        Raises:
            WaitTimeout: Some are not Ready; it tells how many, and why the first isn't.
        """
        assert self._following is not None
        try:
            async with asyncio.timeout(seconds):
                ready = asyncio.create_task(self._none_late.wait())
                await asyncio.wait([ready, self._following], return_when=asyncio.FIRST_COMPLETED)
                if not ready.done():
                    await self._following  # raises why it ended
        except TimeoutError:
            late = sorted(self._late)
            status = (await self._api.get(f"{PATH}/{late[0]}")).get("status", {})
            raise WaitTimeout(f"{len(late)} of {self.count} TFModels are not Ready after {seconds:.0f} s; {late[0]}: {status}") from None
        return self._since

    async def _follow(self) -> None:
        async for exists, body in self._api.follow(PATH):
            name = body["metadata"]["name"]
            self._ready.pop(name, None)
            if exists and ready(body):
                self._ready[name] = body["metadata"]["generation"]
            self._judge(name)

    def _want(self, made: Mapping[str, Any]) -> None:
        self._wanted[made["metadata"]["name"]] = made["metadata"]["generation"]
        self._judge(made["metadata"]["name"])

    def _judge(self, name: str) -> None:
        if name in self._wanted and self._ready.get(name) != self._wanted[name]:
            self._late.add(name)
            self._none_late.clear()
        else:
            self._late.discard(name)
            if not self._late and not self._none_late.is_set():
                self._none_late.set()
                self._since = time.monotonic()


def ready(body: Mapping[str, Any]) -> bool:
    """Say whether a TFModel is Ready, and says so about the spec it has now."""
    generation = body["metadata"]["generation"]
    status = body.get("status", {})
    return status.get("observedGeneration") == generation and any(
        condition["type"] == "Ready" and condition["status"] == "True" and condition["observedGeneration"] == generation
        for condition in status.get("conditions", []))
