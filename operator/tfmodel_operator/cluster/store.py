"""What the watches last told us, by server. Feeding it is all that events do, and all that passes read."""

from __future__ import annotations

import dataclasses
import itertools
import operator
import time
from collections.abc import Collection, Mapping
from typing import Any

from tfmodel_operator.api import any_shape, kinds, labels
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import pointing
from tfmodel_operator.cluster.trim import interned, trimmed

Body = dict[str, Any]

_WRITTEN = frozenset(kind.name for kind in kinds.WRITTEN)


@dataclasses.dataclass(frozen=True, slots=True)
class Children:
    """The objects of one server that exist, by kind and name."""

    objects: Mapping[tuple[str, str], Body]
    server: str

    @property
    def owned(self) -> tuple[Body, ...]:
        """All but the pods."""
        return tuple(body for (kind, _), body in self.objects.items() if kind != kinds.POD.name)

    @property
    def deployment(self) -> Body | None:
        return self.objects.get((kinds.DEPLOYMENT.name, self.server))

    @property
    def configmaps(self) -> tuple[Body, ...]:
        return tuple(body for (kind, _), body in self.objects.items() if kind == kinds.CONFIG_MAP.name)

    @property
    def pods(self) -> tuple[Body, ...]:
        """All pods with the server's label, by name."""
        found = [(name, body) for (kind, name), body in self.objects.items() if kind == kinds.POD.name]
        return tuple(body for _, body in sorted(found, key=operator.itemgetter(0)))


class Server:
    """One server and its TFModel or TFModelServer, as far as they exist.

    Args:
        edition: Changes with everything a plan or its application may depend on: not with status, not with pods.
        absent_since: Monotonic seconds of the last moment at which a child that does not exist now may have existed.
    """

    __slots__ = ("absent_since", "children", "edition", "owner")

    def __init__(self) -> None:
        self.owner: Body | None = None
        self.children: dict[tuple[str, str], Body] = {}
        self.edition = 0
        self.absent_since = 0.0


class Store:
    """Objects by their name and by the server they belong to. Not thread-safe: all use is from one event loop."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Body] = {}
        self._servers: dict[Key, Server] = {}
        self._editions = itertools.count(1)
        self._told: dict[tuple[str, str | None], int] = {}
        self._pointing = pointing.Pointing()

    def upsert(self, kind: str, body: Mapping[str, Any], *, ours: bool = False) -> list[Key]:
        """Take in an object as it is now; return the keys to look at: none if it is nobody's, or nothing is new.

        An older state than the stored one is left out: our own writes are here before the watch tells of them. Resource
        versions are integers that grow (Kubernetes 1.35 promises it; etcd has always made them so).

        Args:
            ours: It is the answer to a write of ours: it counts for nothing if the watch has told of a deletion since.
        """
        name = _name(kind, body)
        stored = self._objects.get(name)
        if stored is not None and version(body) <= version(stored):
            return []
        if ours and stored is None and self._has_been_told(kind, body):
            return []
        if not ours:
            self._note(kind, body["metadata"]["namespace"], version(body))
        key, former = key_of(kind, body), None if stored is None else key_of(kind, stored)
        touched = self._drop(name) if former not in (None, key) else []  # its label names another server now
        if key is None:
            return touched
        kept = trimmed(kind, body)
        changed = _share(kept, stored or {})
        self._objects[name] = kept
        self._put(kind, key, kept)
        if kind != kinds.POD.name and changed - {"status"}:
            self._servers[key].edition = next(self._editions)
        concerned = self._pointing.changed(name, stored, kept, status_alone=not changed - {"status"})
        return [*touched, key, *concerned] if changed else touched

    def remove(self, kind: str, body: Mapping[str, Any]) -> list[Key]:
        """Forget an object; return the keys to look at: none if a newer one of its name is stored, or none at all."""
        self._note(kind, body["metadata"]["namespace"], version(body))
        name = _name(kind, body)
        stored = self._objects.get(name)
        return self._drop(name) if stored is not None and version(stored) <= version(body) else []

    def replace(self, kind: str, namespace: str | None, seen: Collection[str], resource_version: str) -> list[Key]:
        """Forget what a list no longer has; return the keys to look at.

        Args:
            namespace: The list's; None: of all.
            seen: UIDs of all objects in the list.
            resource_version: As of which the list is true: an object stored since stays.
        """
        self._note(kind, namespace, int(resource_version))
        gone = [
            name
            for name, body in self._objects.items()
            if name[0] == kind and namespace in (None, name[1])
            if body["metadata"]["uid"] not in seen and version(body) <= int(resource_version)
        ]
        return list(dict.fromkeys(key for name in gone for key in self._drop(name)))

    def find(self, manifest: Mapping[str, Any]) -> Body | None:
        """Return the existing object that ``manifest`` describes, whichever server its label names; None: none is known."""
        return self._objects.get(_name(manifest["kind"], manifest))

    def model(self, key: Key) -> Body | None:
        """Return the TFModel called ``key``, or None."""
        return self._objects.get((kinds.MODEL.name, *key))

    def owner(self, key: Key) -> Body | None:
        """Return the TFModel or TFModelServer called ``key``, or None."""
        server = self._servers.get(key)
        return server.owner if server is not None else None

    def shared_servers(self, namespace: str | None = None) -> list[Body]:
        """Return the TFModelServers of a namespace, or of all, by name."""
        keys = sorted(key for key in self._servers if namespace in (None, key[0]) and labels.is_shared(key[1]))
        return [owner for key in keys if (owner := self._servers[key].owner) is not None]

    def selecting(self, namespace: str) -> list[Key]:
        """Return the TFModels of a namespace that choose among shared servers."""
        found = ((key, self.model(key)) for key in self._servers if key[0] == namespace and not labels.is_shared(key[1]))
        return [key for key, body in found if any_shape.at(body, "spec", "serverSelector") is not None]

    def pointing(self, key: Key) -> list[Key]:
        """Return the TFModels that ask to be on a shared server, or whose Service selects its pods, by name."""
        return self._pointing.models(key)

    def models(self) -> list[Key]:
        """Return the keys of all TFModels."""
        return [key for key, server in self._servers.items() if server.owner is not None and not labels.is_shared(key[1])]

    def children(self, key: Key) -> Children:
        """Return what exists of the server called ``key``; what is fed later changes it."""
        server = self._servers.get(key)
        return Children(server.children if server else {}, labels.object_name(key[1]))

    def edition(self, key: Key) -> int:
        """Return a number that changes with everything a plan or its application may depend on."""
        return self._servers[key].edition if key in self._servers else 0

    def absent_since(self, key: Key) -> float:
        """Return since when (monotonic seconds) children that do not exist now are known not to."""
        return self._servers[key].absent_since

    def _note(self, kind: str, namespace: str | None, told: int) -> None:
        self._told[kind, namespace] = max(told, self._told.get((kind, namespace), 0))

    def _has_been_told(self, kind: str, body: Mapping[str, Any]) -> bool:
        """Tell whether the watch is past this state of an object: a watch tells of one kind in the order of versions.

        kopf doesn't, but a write of ours never makes a TFModel.
        """
        places = (kind, body["metadata"]["namespace"]), (kind, None)
        return kind in _WRITTEN or version(body) <= max(self._told.get(place, 0) for place in places)

    def _put(self, kind: str, key: Key, body: Body) -> None:
        server = self._servers.get(key) or self._servers.setdefault(key, Server())
        if kind not in _WRITTEN:
            server.children[kind, body["metadata"]["name"]] = body
            return
        if server.owner is None or server.owner["metadata"]["uid"] != body["metadata"]["uid"]:
            server.absent_since = time.monotonic()
        server.owner = body

    def _drop(self, name: tuple[str, str, str]) -> list[Key]:
        """Forget an object; return the key it belongs to, and those of the shared servers it is about."""
        body = self._objects.pop(name)
        key = key_of(name[0], body)
        assert key is not None  # noqa: S101 nothing else gets in
        concerned = self._pointing.changed(name, body, None)
        server = self._servers[key]
        if name[0] in _WRITTEN:
            server.owner = None
        else:
            del server.children[name[0], name[2]]
        if name[0] != kinds.POD.name:
            server.edition, server.absent_since = next(self._editions), time.monotonic()
        if server.owner is None and not server.children:
            del self._servers[key]
        return [key, *concerned]


def version(body: Mapping[str, Any]) -> int:
    """Return an object's resource version."""
    return int(body["metadata"]["resourceVersion"])


def key_of(kind: str, body: Mapping[str, Any]) -> Key | None:
    """Return the key an object belongs to, or None: it isn't of ours."""
    metadata = body["metadata"]
    if kind == kinds.MODEL.name:
        name = metadata["name"]
    elif kind == kinds.MODEL_SERVER.name:
        name = labels.shared(metadata["name"])
    else:
        name = metadata.get("labels", {}).get(labels.SERVER)
    return (metadata["namespace"], name) if name is not None else None


def _share(new: Body, old: Body) -> set[str]:
    """Return the names of the top-level parts that differ; what is equal becomes the very same object, and strings are shared.

    That saves memory, and makes "unchanged" a comparison of identities. A resource version alone is no difference.
    """
    changed = {part for part, value in new.items() if part != "metadata" and value != old.get(part)}
    for part in new.keys() - changed - {"metadata"}:
        new[part] = old[part]
    metadata, before = new["metadata"], old.get("metadata", {})
    for part, value in metadata.items():
        if value == before.get(part):
            metadata[part] = before[part]
        elif part != "resourceVersion":
            changed.add("metadata")
            metadata[part] = interned(value)
    for part in changed - {"metadata", "status"}:  # status is another one in a moment
        new[part] = interned(new[part])
    if before.keys() - metadata.keys():
        changed.add("metadata")
    return changed | (old.keys() - new.keys())


def _name(kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
    return kind, body["metadata"]["namespace"], body["metadata"]["name"]
