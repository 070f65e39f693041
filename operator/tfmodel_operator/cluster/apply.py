"""Bring objects to where a plan wants them, with as few calls as the truth allows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.store import Children, Key, Store, key_of

APPLIED = f"{labels.GROUP}/applied-hash"
"""Annotation: of the manifest last applied. Without it a field that left the manifest while we were down would stay."""

log = logging.getLogger(__name__)


class Applier:
    """Applies manifests; remembers how the API server normalised each, which is only ever an optimisation."""

    def __init__(self, client: ApiClient, store: Store) -> None:
        self._client = client
        self._store = store
        self._normalised: dict[Key, dict[str, tuple[str, Any]]] = {}

    async def apply(self, manifest: Mapping[str, Any], children: Children) -> dict[str, Any]:
        """Make the object ``manifest`` describes be so, unless it is; return it.

        Raises:
            ForeignObject: An object of that name exists and isn't ours.
            ApiError: See there.
        """
        desired = _marked(manifest)
        live = children.like(desired)
        if live is not None and self._is_so(live, desired):
            return live
        _refuse_foreign(live or await self._find(desired), desired)
        log.info("Applying %s", desired["kind"], extra=_fields(desired))
        applied = await self._client.apply(desired)
        key = self._store.upsert(desired["kind"], applied)
        if key is not None:
            self._normalised.setdefault(key, {})[desired["kind"]] = (_digest(desired), project(applied, desired))
        return applied

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a server that is gone."""
        self._normalised.pop(key, None)

    def _is_so(self, live: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
        digest = _digest(desired)
        if live["metadata"].get("annotations", {}).get(APPLIED) != digest:
            return False
        key = key_of(desired["kind"], desired)
        remembered = self._normalised.get(key, {}).get(desired["kind"]) if key else None
        return project(live, desired) == desired or remembered == (digest, project(live, desired))

    async def _find(self, desired: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the object that has the name already: one without our label isn't in the store."""
        metadata = desired["metadata"]
        try:
            return await self._client.get(desired["kind"], desired["apiVersion"], metadata["namespace"], metadata["name"])
        except errors.NotFound:
            return None


def _refuse_foreign(live: Mapping[str, Any] | None, desired: Mapping[str, Any]) -> None:
    """Server-side apply would take over whatever has the name; what isn't ours is left alone.

    Ours is what the TFModel controls, and what an earlier TFModel of the name left behind (``--cascade=orphan``).
    """
    if live is None:
        return
    owners = [owner["uid"] for owner in live["metadata"].get("ownerReferences", []) if owner.get("controller")]
    marks = live["metadata"].get("labels", {})
    left_behind = all(marks.get(key) == value for key, value in desired["metadata"]["labels"].items())
    if owners == [desired["metadata"]["ownerReferences"][0]["uid"]] or (not owners and left_behind):
        return
    raise errors.ForeignObject(
        f"{desired['kind']} {desired['metadata']['name']} exists already and was not made by this operator: "
        "delete it, or give the TFModel another name"
    )


def _digest(desired: Mapping[str, Any]) -> str:
    return str(desired["metadata"]["annotations"][APPLIED])


def project(live: Any, shape: Any) -> Any:
    """Return ``live`` reduced to the members ``shape`` has; list items with a name are matched by it, others by position.

    What others added to the object (defaults, injected containers) is thereby left out of the comparison.
    """
    if isinstance(shape, Mapping) and isinstance(live, Mapping):
        return {key: project(live[key], value) for key, value in shape.items() if key in live}
    if isinstance(shape, list) and isinstance(live, list):
        named = {item["name"]: item for item in live if isinstance(item, Mapping) and "name" in item}
        if shape and all(isinstance(item, Mapping) and item.get("name") in named for item in shape):
            return [project(named[item["name"]], item) for item in shape]
        return [project(found, item) for found, item in zip(live, shape, strict=False)] + live[len(shape) :]
    return live


def _marked(manifest: Mapping[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), APPLIED: digest}
    return {**manifest, "metadata": metadata}


def _fields(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {"namespace": manifest["metadata"]["namespace"], "object": manifest["metadata"]["name"]}
