"""Which TFModels concern which shared servers: those that ask for one, and those whose Services select its pods.

Objects may be of any shape here, as those that an older schema let in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import kinds, labels
from tfmodel_operator.api.any_shape import at, text_at
from tfmodel_operator.api.kinds import Key

Name = tuple[str, str, str]
"""Kind, namespace and name of an object."""


class Pointing:
    """TFModels and Services by the shared servers that they are about."""

    def __init__(self) -> None:
        self._by_server: dict[Key, set[Name]] = {}

    def models(self, server: Key) -> list[Key]:
        """Return the TFModels that concern a server, by name: a Service has the name of its TFModel."""
        return sorted({(namespace, name) for _, namespace, name in self._by_server.get(server, ())})

    def changed(
        self, name: Name, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, *, status_alone: bool = False
    ) -> list[Key]:
        """Take in a change of an object; return the servers to look at.

        Args:
            old, new: None: it wasn't, or isn't, there.
            status_alone: Nothing else has changed, and what it says of itself is no news for its server.
        """
        before, now = servers_of(name[0], old), servers_of(name[0], new)
        for key in before - now:
            self._by_server[key].discard(name)
            if not self._by_server[key]:
                del self._by_server[key]
        for key in now - before:
            self._by_server.setdefault(key, set()).add(name)
        return sorted(before ^ now if status_alone else before | now)


def servers_of(kind: str, body: Mapping[str, Any] | None) -> set[Key]:
    """Return the shared servers that a TFModel asks for or was given, or that a Service selects pods of."""
    found: set[str] = set()
    if kind == kinds.MODEL.name:
        found.add(labels.shared(text_at(body, "spec", "serverRef", "name")))
        found.add(labels.shared(chosen(body)))
    elif kind == kinds.SERVICE.name:
        found.add(text_at(body, "spec", "selector", labels.SERVER))
        found.add(text_at(body, "metadata", "annotations", labels.MOVED).partition(" ")[0])
    namespace = text_at(body, "metadata", "namespace")
    return {(namespace, name) for name in found if labels.is_shared(name) and labels.object_name(name)}


def chosen(body: Any) -> str:
    """Return the TFModelServer that was chosen for a TFModel with a selector, which status keeps; ``""``: none."""
    selects = isinstance(at(body, "spec", "serverSelector"), Mapping)
    return text_at(body, "status", "server", "name") if selects and at(body, "status", "server", "kind") == "Shared" else ""
