"""Finds out what kopf's watch of a kind does not tell: when it has told of all that exist, and what was deleted in a gap.

A metadata-only list says which of a kind exist; those the store has beside them are gone. That is also the resync: what the
store still lacks after a while is fetched.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import backoff, errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.feed import Feed
from tfmodel_operator.cluster.store import Body, version

log = logging.getLogger(__name__)


class Sweep:
    """Compares the store's objects of one kind with those that exist: at the start, when asked to, and every ten minutes.

    Args:
        namespaces: That are watched; (None,) for all.

    Attributes:
        listed: The API server knows the kind; before its CRD is there kopf would never watch it.
        synced: All of them are known, apart from those in namespaces that are refused.
        refused: Why namespaces are kept from us, by name.
        finished: Monotonic seconds at which the API server last said something to us, be it an error.
    """

    INTERVAL_SECONDS = 600.0
    DEBOUNCE_SECONDS = 2.0
    GRACE_SECONDS = 5.0
    """How far a watch may be behind a list."""
    FILL_SECONDS = 0.1
    RETRY_SECONDS = (0.5, 5.0)
    REFUSED_SECONDS = 30.0
    """Then a namespace that is kept from us is asked for again."""

    def __init__(self, client: ApiClient, feed: Feed, namespaces: Sequence[str | None], kind: kinds.Kind = kinds.MODEL) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.listed = asyncio.Event()
        self.finished = time.monotonic()
        self.refused: dict[str, str] = {}
        self._client = client
        self._feed = feed
        self._namespaces = namespaces
        self._wanted = asyncio.Event()

    def soon(self) -> None:
        """Have a look in two seconds: a watch has begun anew, and what was deleted before is not told."""
        self._wanted.set()

    async def run(self) -> NoReturn:
        """Sweep for ever; an API server that is away is waited for."""
        delays = backoff.delays(*self.RETRY_SECONDS)
        while True:
            try:
                await self._sweep()
            except errors.ApiError as error:
                log.warning(
                    "Can't list what there is; will try until it works", extra={"kind": self.kind.name, "error": str(error)}
                )
                self.finished = time.monotonic()  # an answer all the same: it is not we who hang
                await asyncio.sleep(next(delays))
                continue
            self.finished, delays = time.monotonic(), backoff.delays(*self.RETRY_SECONDS)
            await self._until_wanted()

    async def _until_wanted(self) -> None:
        seconds = (self.REFUSED_SECONDS if self.refused else self.INTERVAL_SECONDS) * random.uniform(0.9, 1.1)  # noqa: S311 nothing secret
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
                await asyncio.sleep(self.DEBOUNCE_SECONDS)
        except TimeoutError:
            pass
        self._wanted.clear()

    async def _sweep(self) -> None:
        existing: dict[kinds.Key, int] = {}
        refused: dict[str, str] = {}
        for namespace in self._namespaces:
            try:
                existing |= await self._look(namespace)
            except errors.Rejected as error:
                if namespace is None or error.status != 403 or len(refused) + 1 == len(self._namespaces):
                    raise  # nothing is left to go on with
                refused[namespace] = str(error)
        self._note(refused)
        self.listed.set()
        if not await self._caught_up(existing):
            log.warning("A watch is behind: fetching all", extra={"kind": self.kind.name, "objects": len(existing)})
            for namespace in self._namespaces:
                if namespace in refused:
                    continue
                async for page in self._client.list(self.kind, namespace):
                    for body in page.items:
                        self._feed.upsert(self.kind, body)
        if not self.synced.is_set():
            log.info("All of a kind are known", extra={"kind": self.kind.name, "objects": len(existing)})
        self.refused = refused  # what was refused before is known only now
        self.synced.set()

    def _note(self, refused: Mapping[str, str]) -> None:
        for namespace in refused.keys() - self.refused.keys():
            fields = {"kind": self.kind.name, "namespace": namespace, "error": refused[namespace]}
            log.warning("A namespace is kept from us; the others go on", extra=fields)
        self.refused |= refused

    async def _look(self, namespace: str | None) -> dict[kinds.Key, int]:
        """Forget the TFModels that are gone; return the resource versions of those there are."""
        existing, uids, as_of = {}, set(), "0"
        async for page in self._client.list(self.kind, namespace, metadata_only=True):
            for item in page.items:
                metadata = item["metadata"]
                existing[metadata["namespace"], metadata["name"]] = version(item)
                uids.add(metadata["uid"])
            as_of = page.resource_version
        if gone := self._feed.replace(self.kind, namespace, uids, as_of):
            log.info("Objects were deleted without a word", extra={"kind": self.kind.name, "keys": gone})
        return existing

    async def _caught_up(self, existing: Mapping[kinds.Key, int]) -> bool:
        """Wait until the watch has told of everything that was listed; return False if it has stopped doing so."""
        lacking, deadline = self._lacking(existing), time.monotonic() + self.GRACE_SECONDS
        while lacking and time.monotonic() < deadline:
            await asyncio.sleep(self.FILL_SECONDS)
            still = self._lacking(lacking)
            if len(still) < len(lacking):
                lacking, deadline = still, time.monotonic() + self.GRACE_SECONDS
        return not lacking

    def _lacking(self, existing: Mapping[kinds.Key, int]) -> dict[kinds.Key, int]:
        objects = ((key, listed, self._stored(*key)) for key, listed in existing.items())
        return {key: listed for key, listed, stored in objects if stored is None or version(stored) < listed}

    def _stored(self, namespace: str, name: str) -> Body | None:
        return self._feed.store.find({"kind": self.kind.name, "metadata": {"namespace": namespace, "name": name}})
