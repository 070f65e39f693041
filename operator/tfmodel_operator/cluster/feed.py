"""The seam between what watches the cluster and what acts on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tfmodel_operator.api.kinds import Key, Kind
from tfmodel_operator.cluster.store import Store


def wrote(store: Store, tell: Callable[[Key], None], key: Key, body: Mapping[str, Any]) -> None:
    """Take in the answer to a write made for ``key``, and have the other keys looked at that it concerns.

    The watch tells nothing new of what is here before it.
    """
    for concerned in store.upsert(body["kind"], body, ours=True):
        if concerned != key:
            tell(concerned)


class Feed:
    """Takes in what watches and lists tell, and has the keys looked at that it concerns.

    Args:
        changed: Called with each of them.
    """

    def __init__(self, store: Store, changed: Callable[[Key], None]) -> None:
        self.store = store
        self._changed = changed

    def upsert(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """An object is so now."""
        self._tell(self.store.upsert(kind.name, body))

    def remove(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """An object is gone."""
        self._tell(self.store.remove(kind.name, body))

    def replace(self, kind: Kind, namespace: str | None, seen: Collection[str], resource_version: str) -> int:
        """A list has just these UIDs; return how many TFModels' worth of objects were gone without a word."""
        keys = self.store.replace(kind.name, namespace, seen, resource_version)
        self._tell(keys)
        return len(keys)

    def _tell(self, keys: Collection[Key]) -> None:
        for key in keys:
            self._changed(key)
