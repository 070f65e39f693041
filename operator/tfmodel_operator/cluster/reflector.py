"""Keeps the store equal to all objects of one kind: a list, then a watch from there on, and a list again when history is lost.

kopf's watches cost ten times as much per event, and what is deleted while one is broken they never tell. Here a list says
what exists, and by that what no longer does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import NoReturn

from tfmodel_operator.api import kinds, labels
from tfmodel_operator.cluster import backoff, errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.feed import Feed

log = logging.getLogger(__name__)


class HistoryRewritten(Exception):
    """The API server's resource versions went back, as after a restore: nothing that is stored can be trusted."""


class Reflector:
    """Follows one kind in one namespace, or in all (None), by the label of our servers.

    Args:
        recovered: Called when the API server answers again after it didn't.
        inactivity_seconds: A watch that tells nothing for so long, no bookmark either, is taken for dead.

    Attributes:
        synced: All of them are known.
        refused: Why the namespace is kept from us; ``""``: it isn't. What is known of it then is as it was.
        answered: Either is so, or has been.
    """

    WATCH_SECONDS = (300, 600)
    RETRY_SECONDS = (0.5, 5.0)

    def __init__(
        self,
        client: ApiClient,
        feed: Feed,
        kind: kinds.Kind,
        namespace: str | None = None,
        *,
        recovered: Callable[[], None] = lambda: None,
        inactivity_seconds: float = 75.0,
    ) -> None:
        self.kind = kind
        self.synced, self.answered = asyncio.Event(), asyncio.Event()
        self.refused = ""
        self.last_event = time.monotonic()
        self._client = client
        self._feed = feed
        self.namespace = namespace
        self._recovered = recovered
        self._inactivity = inactivity_seconds
        self._version = "0"
        self._failing = False
        self._delays = backoff.delays(*self.RETRY_SECONDS)

    async def run(self) -> NoReturn:
        """List and watch for ever; an API server that is away is waited for, however long.

        Raises:
            HistoryRewritten: Start anew, with an empty store.
        """
        listed = False
        while True:
            try:
                if not listed:
                    await self._list()
                    listed = True
                await self._watch()
            except errors.Silent:
                continue  # an API server to which nothing ever happened sends no bookmarks either
            except errors.ApiError as error:
                listed = listed and isinstance(error, errors.Unavailable)  # else the way on from the last event is lost
                if error.status == 403 and self.namespace is not None:  # it is gone, or its Role is: the others go on
                    self.refused = str(error)
                    self.answered.set()
                await self._pause(error)

    async def _list(self) -> None:
        seen: set[str] = set()
        version = "0"
        async for page in self._client.list(self.kind, self.namespace, labels.SERVER):
            for body in page.items:
                seen.add(body["metadata"]["uid"])
                self._feed.upsert(self.kind, body)
            version = page.resource_version
        if int(version) < int(self._version):
            raise HistoryRewritten(f"{self.kind.plural} are listed at version {version} after {self._version}")
        self._feed.replace(self.kind, self.namespace, seen, version)
        self._heard(version)
        self.refused = ""
        self.synced.set()
        self.answered.set()

    async def _watch(self) -> None:
        began, events = time.monotonic(), 0
        seconds = random.randint(*self.WATCH_SECONDS)  # noqa: S311 nothing secret
        async for what, body in self._client.watch(
            self.kind,
            self.namespace,
            labels.SERVER,
            self._version,
            seconds=seconds,
            inactivity_seconds=self._inactivity,
        ):
            if what == "ERROR":
                raise errors.from_status(body.get("code", 0), body.get("message", "the watch failed"))
            if what == "DELETED":
                self._feed.remove(self.kind, body)
            elif what in {"ADDED", "MODIFIED"}:
                self._feed.upsert(self.kind, body)
            self._heard(body["metadata"]["resourceVersion"])
            events += 1
        if not events and time.monotonic() - began < 1.0:
            raise errors.Unavailable(f"the watch of {self.kind.plural} ended as soon as it began")

    def _heard(self, version: str) -> None:
        self._version, self.last_event = version, time.monotonic()
        if self._failing:
            log.info("Watching again", extra=self._fields())
            self._recovered()
        self._failing, self._delays = False, backoff.delays(*self.RETRY_SECONDS)

    async def _pause(self, error: errors.ApiError) -> None:
        if not self._failing:
            log.warning("Can't watch; will try until it works", extra={**self._fields(), "error": str(error)})
        self._failing = True
        await asyncio.sleep(next(self._delays))

    def _fields(self) -> dict[str, str]:
        return {"resource": self.kind.plural, "namespace": self.namespace or "(all)"}
