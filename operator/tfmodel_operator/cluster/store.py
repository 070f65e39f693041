"""What the watches last told us, by kind and by server. Feeding it is all that events do."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from tfmodel_operator.api import labels

Key = tuple[str, str]
"""Namespace and name of a TFModel, which is also that of its own server."""


@dataclasses.dataclass(frozen=True, slots=True)
class Children:
    """The objects of one server that exist; a missing one is None."""

    configmap: dict[str, Any] | None = None
    deployment: dict[str, Any] | None = None
    service: dict[str, Any] | None = None
    pods: tuple[dict[str, Any], ...] = ()
    objects: Mapping[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)

    def like(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        """Return the existing object that ``manifest`` describes."""
        return self.objects.get((manifest["kind"], manifest["metadata"]["name"]))


class Store:
    """Objects by kind and name. Not thread-safe: all use is from one event loop."""

    def __init__(self) -> None:
        self._models: dict[Key, dict[str, Any]] = {}
        self._children: dict[Key, dict[tuple[str, str], dict[str, Any]]] = {}

    def upsert(self, kind: str, body: dict[str, Any]) -> Key | None:
        """Take in an object as it is now; return the key it concerns. An older version than the stored one is left out."""
        body["metadata"].pop("managedFields", None)
        key = key_of(kind, body)
        if key is None:
            return None
        if kind == "TFModel":
            stored = self._models.get(key)
            self._models[key] = _newer(body, stored)
        else:
            children = self._children.setdefault(key, {})
            name = (kind, body["metadata"]["name"])
            children[name] = _newer(body, children.get(name))
        return key

    def remove(self, kind: str, body: dict[str, Any]) -> Key | None:
        """Forget an object; return the key it concerns."""
        key = key_of(kind, body)
        if key is None:
            return None
        if kind == "TFModel":
            self._models.pop(key, None)
        else:
            children = self._children.get(key, {})
            children.pop((kind, body["metadata"]["name"]), None)
            if not children:
                self._children.pop(key, None)
        return key

    def model(self, key: Key) -> dict[str, Any] | None:
        """Return the TFModel called ``key``, or None."""
        return self._models.get(key)

    def models(self) -> Collection[Key]:
        """Return the keys of all TFModels."""
        return tuple(self._models)

    def children(self, key: Key) -> Children:
        """Return what exists of the server called ``key``."""
        found = self._children.get(key, {})

        def one(kind: str, name: str) -> dict[str, Any] | None:
            return found.get((kind, name))

        return Children(
            configmap=one("ConfigMap", f"{key[1]}-models"),
            deployment=one("Deployment", key[1]),
            service=one("Service", key[1]),
            pods=tuple(body for (kind, _), body in sorted(found.items()) if kind == "Pod"),
            objects=found,
        )


def _newer(body: dict[str, Any], stored: dict[str, Any] | None) -> dict[str, Any]:
    """Return the newer of two states of one object: our own writes come back before the watch tells of them.

    Resource versions of one resource are integers that grow (Kubernetes 1.35 promises it; etcd has always made them so).
    """
    if stored is None or stored["metadata"]["uid"] != body["metadata"]["uid"]:
        return body
    newer = int(body["metadata"]["resourceVersion"]) >= int(stored["metadata"]["resourceVersion"])
    return body if newer else stored


def key_of(kind: str, body: Mapping[str, Any]) -> Key | None:
    """Return the key an object belongs to, or None: it isn't of ours."""
    metadata = body["metadata"]
    name = metadata["name"] if kind == "TFModel" else metadata.get("labels", {}).get(labels.SERVER)
    return (metadata["namespace"], name) if name else None
