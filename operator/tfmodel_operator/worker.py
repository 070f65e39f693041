"""Reconciles keys from the queue; what the API server could not answer is tried again with back-off."""

from __future__ import annotations

import logging
import random
import time

from tfmodel_operator import logs, metrics, reconcile
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors
from tfmodel_operator.workqueue import WorkQueue
from tfmodel_operator.world import World

HELD_SECONDS = 10.0
"""Then a key of a namespace that isn't known is looked at again."""

log = logging.getLogger(__name__)


class Worker:
    """Does one pass at a time; several may share a world and a queue."""

    def __init__(self, world: World, queue: WorkQueue[Key], measured: metrics.Metrics) -> None:
        self._world = world
        self._queue = queue
        self._measured = measured

    async def run(self) -> None:
        """Work until the queue is closed."""
        await self._queue.work(self._one)

    async def _one(self, key: Key) -> None:
        body = self._world.store.owner(key)
        with logs.about(*key, body["metadata"]["generation"] if body else None):
            began = time.perf_counter()
            result = await self._pass(key)
            self._measured.reconciled.labels(result).inc()
            self._measured.duration.observe(time.perf_counter() - began)

    async def _pass(self, key: Key) -> str:
        if not self._world.knows(key[0]):
            self._queue.add_after(key, HELD_SECONDS)  # what isn't known to be there may well be
            return "held"
        try:
            seconds = await reconcile.reconcile(key, self._world)
        except errors.ApiError as error:
            seconds = self._queue.retry(key)
            log.warning("Will try again", extra={"error": str(error), "in_seconds": round(seconds, 1)})
            return "error"
        except Exception:  # a bug that one TFModel brings to light must not end the work on all others
            seconds = self._queue.retry(key)
            log.exception("A pass broke off by a bug; will try again", extra={"in_seconds": round(seconds, 1)})
            return "bug"
        self._queue.forget(key)
        if seconds is not None:
            self._queue.add_after(key, seconds * random.uniform(1.0, 1.1))  # noqa: S311 so that not all come at once
        return "done"
