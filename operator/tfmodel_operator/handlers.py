"""kopf's part: watches that feed the store and the queue. No handler decides or calls anything.

Only `on.event` is used: it writes nothing to anybody's objects. Change handlers, timers, daemons and indices would add
finalizers and annotations, or cost time that grows with the square of the number of objects.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import kopf

from tfmodel_operator.api import labels
from tfmodel_operator.cluster.store import Key, Store
from tfmodel_operator.workqueue import WorkQueue

KINDS = {
    "TFModel": (labels.GROUP, labels.VERSION, "tfmodels"),
    "ConfigMap": ("", "v1", "configmaps"),
    "Service": ("", "v1", "services"),
    "Deployment": ("apps", "v1", "deployments"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets"),
    "Pod": ("", "v1", "pods"),
}


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf copies and compares every object for change handlers; there are none, and it costs a millisecond a Pod event."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> Any:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        pass


def registry(store: Store, queue: WorkQueue[Key]) -> kopf.OperatorRegistry:
    """Return kopf's registry with one handler per kind, and the login."""
    handlers = kopf.OperatorRegistry()
    for kind, resource in KINDS.items():
        kopf.on.event(*resource, registry=handlers, id=f"feed-{kind.lower()}")(_feed(kind, store, queue))
    kopf.on.login(registry=handlers)(login)
    return handlers


def _feed(kind: str, store: Store, queue: WorkQueue[Key]) -> Any:
    async def feed(event: Any, **_: Any) -> None:
        body = dict(event["object"])
        body.setdefault("metadata", {})
        body["metadata"] = dict(body["metadata"])
        key = store.remove(kind, body) if event["type"] == "DELETED" else store.upsert(kind, body)
        if key is not None:
            queue.add(key)

    return feed


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
    configured.watching.chunk_size = 500
    configured.watching.server_timeout = 300
    configured.watching.client_timeout = 330
    configured.watching.connect_timeout = 10
    configured.networking.request_timeout = 30
    configured.networking.connect_timeout = 10
    configured.networking.error_backoffs = _Endless()
    configured.scanning.disabled = True  # the CRD comes before us, and namespaces are named: nothing to look out for
    for group, _, plural in KINDS.values():
        if group != labels.GROUP:
            configured.watching.label_selectors[kopf_selector(group, plural)] = labels.SERVER
    return configured


def kopf_selector(group: str, plural: str) -> tuple[str, str] | str:
    """Return how kopf names a resource in its settings."""
    return (group, plural) if group else ("v1", plural)


class _Endless:
    """An API server that is away is waited for, however long; the liveness probe is about us, not about it."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3, 5)
        while True:
            yield 10
