"""kopf's part: the watches of TFModels and TFModelServers, which feeds the store. No handler decides or calls anything.

Only `on.event` is used: it writes nothing to anybody's objects. Change handlers, timers, daemons and indices would add
finalizers and annotations, or cost time that grows with the square of the number of objects. What we own is followed by our
own reflectors: kopf's price per event is bearable for what people write, not for what controllers do.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import time
from collections.abc import Callable
from typing import Any

import kopf

from tfmodel_operator.api import kinds, labels
from tfmodel_operator.cluster.backoff import Endless
from tfmodel_operator.cluster.feed import Feed

LOGIN_SECONDS = 1.0
"""At least, between two logins: kopf logs in again as soon as an API server says 401, which one that starts may do."""
LOGIN_LASTS = datetime.timedelta(minutes=30)
"""Then the token is read anew: it is another one every hour."""


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf copies and compares every object for change handlers; there are none, and it costs a millisecond an event."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        pass


def registry(feed: Feed, relisted: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return kopf's registry with the watches of what people write, and the login.

    Args:
        relisted: Called when a watch has begun anew: what was deleted meanwhile is not told.
    """
    handlers = kopf.OperatorRegistry()

    def follow(kind: kinds.Kind) -> None:
        async def told(event: Any, **_: Any) -> None:
            body = event["object"]
            if event["type"] == "DELETED":
                feed.remove(kind, body)
                return
            if event["type"] is None and feed.store.find({**body, "kind": kind.name}) is not None:
                relisted()
            feed.upsert(kind, body)

        kopf.on.event(labels.GROUP, labels.VERSION, kind.plural, registry=handlers, id=f"feed-{kind.name.lower()}")(told)

    for kind in kinds.WRITTEN:
        follow(kind)
    kopf.on.login(registry=handlers, id="login")(_PatientLogin().log_in)
    return handlers


class _PatientLogin:
    """Logs in for kopf, which gives up for good on credentials that come again after a 401, and asks without a pause.

    Theirs have a time of expiry, and so are never the same.
    """

    def __init__(self) -> None:
        self._last = float("-inf")

    async def log_in(self, **kwargs: Any) -> kopf.ConnectionInfo:
        await asyncio.sleep(max(0.0, self._last + LOGIN_SECONDS - time.monotonic()))
        self._last = time.monotonic()
        return dataclasses.replace(login(**kwargs), expiration=datetime.datetime.now(datetime.UTC) + LOGIN_LASTS)


def login(**kwargs: Any) -> kopf.ConnectionInfo:
    """Log in as the pod's service account, else as the kubeconfig's user."""
    if found := kopf.login_with_service_account(**kwargs):
        # By address, as client-go does: kopf would ask the cluster's DNS, which need not be up before us.
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if host:
            return dataclasses.replace(found, server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")
        return found
    if found := kopf.login_with_kubeconfig(**kwargs):
        return found
    raise kopf.PermanentError("no service account is mounted and KUBECONFIG names no usable file")


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: quiet, stateless, patient with the API server, small in memory."""
    configured = kopf.OperatorSettings()
    configured.peering.standalone = True
    configured.posting.enabled = False
    configured.persistence.diffbase_storage = _NoDiffBase()
    configured.queueing.idle_timeout = 0.2  # workers hold the object until then
    configured.watching.chunk_size = 250
    configured.watching.server_timeout = 300
    configured.watching.client_timeout = 330
    configured.watching.inactivity_timeout = 75  # bookmarks come every minute
    configured.watching.connect_timeout = 10
    configured.networking.request_timeout = 30
    configured.networking.connect_timeout = 10
    configured.networking.error_backoffs = Endless(1.0, 5.0)  # the liveness probe is about us, not about the API server
    configured.scanning.disabled = True  # the CRD comes before us, and namespaces are named: nothing to look out for
    return configured
