"""Leader election by a Lease: of all replicas, which all watch, one works.

The rules are client-go's, with their figures: whoever holds the Lease renews it; it is free when it hasn't changed for as
long as it lasts, by the clock of the one who looks, because the holder's clock may be wrong; every write is conditional on
the resource version, so that of two who try one wins.

Two are our own, for an API server that is away, when nobody can renew and nobody can take over: the holder writes nothing more
from the deadline on, but goes on when a renewal goes through, which says that nobody has had the Lease meanwhile; and those
who wait count only the time in which they could look.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.client import ApiClient


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """How an election goes, in seconds.

    Args:
        lease: How long a Lease holds that isn't renewed.
        deadline: Who hasn't been able to renew for so long writes nothing more; that is before anybody else may take it.
        renew: From one renewal to the next, and for how long one may take.
        retry: Until what failed is tried again, and a Lease that isn't ours looked at.
    """

    lease: int = 15
    deadline: float = 10.0
    renew: float = 3.0
    retry: float = 2.0


TIMING = Timing()

log = logging.getLogger(__name__)
Spec = dict[str, Any]


class LeaseLost(Exception):
    """Somebody else is working by now: stop at once."""


class Elector:
    """Takes part in the election for one Lease.

    Args:
        identity: Ours. One that comes back with the pod (a container that restarts) has its Lease back at once.
    """

    def __init__(self, client: ApiClient, namespace: str, name: str, identity: str, timing: Timing = TIMING) -> None:
        self.identity = identity
        self._client = client
        self._timing = timing
        self._metadata = {"namespace": namespace, "name": name}
        self._seen: Mapping[str, Any] = {}
        self._looked = float("-inf")
        self._unchanged = 0.0
        self._renewed = float("-inf")

    async def acquire(self) -> None:
        """Return when the Lease is ours."""
        said = ""
        while True:
            try:
                if await self._try():
                    log.info("Leading", extra={"lease": self._metadata["name"], "identity": self.identity})
                    return
            except errors.ApiError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("Can't take part in the election; will try until it works", extra={"error": said})
            await asyncio.sleep(self._timing.retry)

    def holds(self) -> bool:
        """Tell whether the Lease is certainly ours: only then may anything be written.

        It is not when it couldn't be renewed for a while; then nobody else can have it yet, but may soon.
        """
        return time.monotonic() < self._renewed + self._timing.deadline

    async def keep(self, regained: Callable[[], None] = lambda: None) -> NoReturn:
        """Renew the Lease for ever. An API server that is away is waited for: the Lease may still be ours then.

        Args:
            regained: Called when it is certainly ours again after it wasn't.

        Raises:
            LeaseLost: Somebody else has it.
        """
        while True:
            certain = self.holds()
            try:
                async with asyncio.timeout(self._timing.renew):
                    if not await self._try():
                        raise LeaseLost(f"the lease is held by {self._holder() or 'nobody'} now")
                pause = self._timing.renew
                if not certain:
                    log.info("Leading again", extra={"lease": self._metadata["name"]})
                    regained()
            except (errors.ApiError, TimeoutError) as error:
                pause = self._timing.retry
                if certain:
                    log.warning("Can't renew the lease; will try until it works", extra={"error": str(error) or "no answer"})
            await asyncio.sleep(pause)

    async def release(self) -> None:
        """Let somebody else have it at once; best effort."""
        try:
            async with asyncio.timeout(self._timing.retry):
                try:
                    await self._give_back()
                except errors.Conflict:  # by a renewal of ours that was broken off when its answer was on its way
                    await self._read()
                    await self._give_back()
        except (errors.ApiError, TimeoutError) as error:
            log.warning("The lease can't be released; it runs out by itself", extra={"error": str(error)})

    async def _give_back(self) -> None:
        if self._holder() != self.identity:
            return
        await self._write({**self._seen["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})
        log.info("Released the lease", extra={"lease": self._metadata["name"]})

    async def _try(self) -> bool:
        """Take or renew the Lease if it may be had; return whether it is ours."""
        asked = time.monotonic()
        if self._holder() != self.identity:  # who holds it need not look before writing
            await self._read()
        holder = self._holder()
        if holder not in ("", self.identity) and not self._expired():
            return False
        spec = dict(self._seen.get("spec") or {})
        if holder != self.identity:
            spec |= {"acquireTime": _now(), "leaseTransitions": (spec.get("leaseTransitions") or 0) + bool(self._seen)}
        try:
            await self._write(
                {**spec, "holderIdentity": self.identity, "leaseDurationSeconds": self._timing.lease, "renewTime": _now()}
            )
        except (errors.Conflict, errors.NotFound):
            await self._read()
            if self._holder() == self.identity:
                raise  # an earlier write of ours whose answer was lost: renew what it left
            return False
        self._renewed = asked
        return True

    async def _read(self) -> None:
        try:
            found = await self._client.get(kinds.LEASE, self._metadata["namespace"], self._metadata["name"])
        except errors.NotFound:
            found = {}
        now = time.monotonic()
        # Looks come every `retry`. When one comes later the API server may have been away, for the holder too.
        self._unchanged += min(now - self._looked, self._timing.renew)
        if found.get("spec") != self._seen.get("spec"):
            self._unchanged = 0.0
        self._seen, self._looked = found, now

    async def _write(self, spec: Spec) -> None:
        version = {key: self._seen["metadata"][key] for key in ("resourceVersion", "uid")} if self._seen else {}
        body = {"apiVersion": kinds.LEASE.api_version, "kind": "Lease", "metadata": {**self._metadata, **version}, "spec": spec}
        write = self._client.update if self._seen else self._client.create
        self._seen = await write(kinds.LEASE, body)

    def _holder(self) -> str:
        return str((self._seen.get("spec") or {}).get("holderIdentity") or "")

    def _expired(self) -> bool:
        seconds = (self._seen.get("spec") or {}).get("leaseDurationSeconds") or self._timing.lease
        return self._unchanged > seconds


def _now() -> str:
    """Return the time as Kubernetes' MicroTime."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
