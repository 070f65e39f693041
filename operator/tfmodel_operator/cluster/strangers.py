"""Which names are taken by objects that don't have our label: server-side apply would take them over without a word.

Ours have it and are watched, but for one that somebody took the label from; of the others only the names matter, and only when
a child is about to be made. One metadata-only list per kind and namespace answers for all TFModels that were waiting for it,
where a GET per child would double the requests of a large apply. One child alone is made without asking (:mod:`cluster.apply`).
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import kinds, labels
from tfmodel_operator.cluster.client import ApiClient

OTHERS = f"!{labels.SERVER}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Names:
    taken: Mapping[str, str] = dataclasses.field(default_factory=dict)
    listed: float = float("-inf")


class Strangers:
    """Lists of names, kept for a few seconds."""

    KEPT_SECONDS = 10.0

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._names: dict[tuple[str, str], _Names] = {}
        self._locks: collections.defaultdict[tuple[str, str], asyncio.Lock] = collections.defaultdict(asyncio.Lock)

    async def controller(self, kind: kinds.Kind, namespace: str, name: str, since: float) -> str | None:
        """Return the UID of what controls the object of this name that doesn't carry our label.

        Args:
            since: Monotonic seconds: what was listed before is not believed.

        Returns:
            ``""`` if nothing controls it; None if there is no such object.

        Raises:
            ApiError: The API server doesn't say.
        """
        place = kind.name, namespace
        async with self._locks[place]:  # whoever comes while a list is on its way gets that one, if it began late enough
            names = self._names.get(place, _Names())
            if names.listed < max(since, time.monotonic() - self.KEPT_SECONDS):
                names = self._names[place] = await self._list(kind, namespace)
        return names.taken.get(name)

    async def _list(self, kind: kinds.Kind, namespace: str) -> _Names:
        self._forget_old()
        listed = time.monotonic()
        pages = [page async for page in self._client.list(kind, namespace, OTHERS, metadata_only=True)]
        found = (item["metadata"] for page in pages for item in page.items)
        return _Names({metadata["name"]: _controller(metadata) for metadata in found}, listed)

    def _forget_old(self) -> None:
        """Namespaces come and go; what is of no use any more isn't kept."""
        oldest = time.monotonic() - self.KEPT_SECONDS
        for place in [place for place, names in self._names.items() if names.listed < oldest]:
            del self._names[place]
            if not self._locks[place].locked():
                del self._locks[place]


def _controller(metadata: Mapping[str, Any]) -> str:
    return next((str(owner["uid"]) for owner in metadata.get("ownerReferences", ()) if owner.get("controller")), "")
