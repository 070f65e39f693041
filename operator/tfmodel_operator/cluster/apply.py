"""Bring objects to where a plan wants them, with as few calls as the truth allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from tfmodel_operator.api import kinds, labels
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import compare, errors, feed
from tfmodel_operator.cluster.client import FIELD_MANAGER, ApiClient
from tfmodel_operator.cluster.store import Body, Store, version
from tfmodel_operator.cluster.strangers import Strangers
from tfmodel_operator.cluster.trim import trimmed

Manifest = Mapping[str, Any]

APPLIED = f"{labels.GROUP}/applied-hash"
"""Annotation: of the manifest last applied. Without it a field that left the manifest while we were down would stay."""
PARTS = ("metadata", "spec", "data")
_WRITTEN = frozenset(kind.name for kind in kinds.WRITTEN)
NEVER = "1"
"""A resource version that no object has, because etcd begins with it: apply makes one, and conflicts with one that exists."""
UNPROCESSABLE = 422
log = logging.getLogger(__name__)


class Applier:
    """Applies plans; remembers what it found to be in place, which is only ever an optimisation.

    Args:
        tell: Has another key looked at which a write concerns.
    """

    def __init__(
        self, client: ApiClient, store: Store, strangers: Strangers, tell: Callable[[Key], None] = lambda key: None
    ) -> None:
        self._client = client
        self._tell = tell
        self._store = store
        self._strangers = strangers
        self._in_place: dict[Key, dict[tuple[str, str], tuple[str, Body]]] = {}

    def missing(self, objects: Iterable[Manifest]) -> bool:
        """Tell whether a child doesn't exist, or has lost its owner: what happens when the owner is deleted."""
        return any(live is None or not _is_controlled(live, one) for one in objects for live in [self._store.find(one)])

    async def apply(
        self, objects: Sequence[Manifest], key: Key, kept: Collection[tuple[str, str]] = (), *, prune: bool = True
    ) -> bool:
        """Make all ``objects`` be so, in their order, and delete those of ``key`` that aren't among them.

        If more than the Deployment is to be written, it is tried before anything is: it has most of what only the API
        server can judge. So are names of which others may have objects, where there are several.

        Args:
            kept: Kind and name of further ones that stay as they are.
            prune: Whether to delete.

        Returns:
            Whether they are all so in the store, too, and nothing else of ours is: there is nothing left to do.

        Raises:
            ForeignObject: An object of the name exists and isn't ours.
            Leftover: An object of the name will be gone in a moment.
            ApiError: See there; Rejected is for the user to mend.
        """
        desired = [_marked(one) for one in objects]
        pending = [one for one in desired if not self._is_in_place(one, key)]
        is_made_alone = len(pending) == 1 and self._store.find(pending[0]) is None
        for one in () if is_made_alone else pending:
            await self._refuse_foreign(one, key)
        if len(pending) > 1:
            for one in pending:
                if one["kind"] == kinds.DEPLOYMENT.name:
                    await self._send(one, dry_run=True)
        if pending:
            log.info("Applying", extra={"objects": ["/".join(_name(one)) for one in pending]})
        for one in pending:
            await (self._make(one, key) if is_made_alone else self._write(one, key))
        pruned = prune and await self._prune(desired, key, kept)
        return not pruned and all(self._is_in_place(one, key) for one in desired)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a server that is gone."""
        self._in_place.pop(key, None)

    async def _make(self, desired: Manifest, key: Key) -> None:
        """Write an object that isn't known to exist, unless it does: whose it is need not be asked before."""
        try:
            made = await self._client.apply({**desired, "metadata": {**desired["metadata"], "resourceVersion": NEVER}})
        except errors.Conflict:
            await self._refuse_foreign(desired, key)  # else it is ours, and the watch is about to tell
            made = await self._send(desired)
        self._take_in(desired, made, key)

    async def _write(self, desired: Manifest, key: Key) -> None:
        self._take_in(desired, await self._send(desired), key)

    def _take_in(self, desired: Manifest, applied: Body, key: Key) -> None:
        feed.wrote(self._store, self._tell, key, applied)
        # What the API server made of it is right, even where it reads differently: it knows better what is equal.
        stored = self._store.find(desired)
        is_newest = stored is not None and version(stored) == version(applied)
        self._remember(desired, key, stored if stored is not None and is_newest else trimmed(desired["kind"], applied))

    async def _send(self, desired: Manifest, *, dry_run: bool = False) -> Body:
        """Apply; if that is refused because of what others made of an object of ours, put ours in the place of all that."""
        try:
            return await self._client.apply(desired, dry_run=dry_run)
        except errors.Rejected as error:
            live = self._store.find(desired)
            if error.status != UNPROCESSABLE or live is None or not _is_controlled(live, desired):
                raise
            try:
                replaced = await self._client.merge(desired, _content(desired, live), dry_run=dry_run)
            except errors.Rejected:
                raise error from None
        if dry_run:
            return replaced
        log.warning("What others changed is put back whole", extra={"objects": ["/".join(_name(desired))]})
        await self._client.merge(desired, _disowned(desired))
        return await self._client.apply(desired)

    async def _prune(self, desired: Sequence[Manifest], key: Key, kept: Collection[tuple[str, str]]) -> bool:
        wanted = {*kept, *((one["kind"], one["metadata"]["name"]) for one in desired)}
        surplus = [
            body
            for body in self._store.children(key).owned
            if (body["kind"], body["metadata"]["name"]) not in wanted and _is_controlled(body, desired[0])
        ]
        for body in surplus:
            log.info("Deleting what is not wanted any more", extra={"objects": ["/".join(_name(body))]})
            try:
                await self._client.delete(kinds.BY_NAME[body["kind"]], body)
            except (errors.NotFound, errors.Conflict):
                continue  # gone, or changed: the watch tells, and we look again
        return bool(surplus)

    def _is_in_place(self, desired: Manifest, key: Key) -> bool:
        live = self._store.find(desired)
        if live is None or live["metadata"].get("annotations", {}).get(APPLIED) != _digest(desired):
            return False
        digest, seen = self._in_place.get(key, {}).get(_name(desired), ("", None))
        if digest != _digest(desired) or not _same(live, seen):
            if not compare.holds(live, desired):
                return False
            self._remember(desired, key, live)
        return True

    def _remember(self, desired: Manifest, key: Key, live: Body) -> None:
        self._in_place.setdefault(key, {})[_name(desired)] = (_digest(desired), live)

    async def _refuse_foreign(self, desired: Manifest, key: Key) -> None:
        """Raise if the name is somebody else's.

        Ours is what the TFModel controls, and what an earlier TFModel of the name left behind (``--cascade=orphan``).
        """
        live, kind, metadata = self._store.find(desired), kinds.BY_NAME[desired["kind"]], desired["metadata"]
        if live is None:
            since = self._store.absent_since(key)
            controller = await self._strangers.controller(kind, metadata["namespace"], metadata["name"], since)
            if controller is None:
                return
            if controller == _owner(desired)[2]:
                await self._take_back(desired)
        elif _is_controlled(live, desired) or _was_left_behind(live, desired):
            return
        elif _is_dying(live, desired):
            raise errors.Leftover(
                f"{kind.name} {metadata['name']} belongs to a deleted TFModel of this name and is about to go with it"
            )
        raise errors.ForeignObject(_taken(live, desired))

    async def _take_back(self, desired: Manifest) -> NoReturn:
        """Label a child anew by which we know it: it may be another than the plan, made in ignorance of it, takes it for."""
        log.info("Labelling a child that has lost our label", extra={"objects": ["/".join(_name(desired))]})
        change = {"metadata": {"labels": desired["metadata"]["labels"]}}
        self._store.upsert(desired["kind"], await self._client.merge(desired, change), ours=True)
        raise errors.Conflict(f"{'/'.join(_name(desired))} had lost the label {labels.SERVER}")


def _content(desired: Manifest, live: Body) -> dict[str, Any]:
    """Return a merge patch: it replaces whole lists, where server-side apply would add our items to those of others."""
    seen = {key: live["metadata"][key] for key in ("uid", "resourceVersion")}
    return {"metadata": seen, **{part: desired[part] for part in ("spec", "data") if part in desired}}


def _disowned(desired: Manifest) -> dict[str, Any]:
    """Return a merge patch that takes its fields from all owners: what a merge patch has set would never leave the object else.

    We keep one, because who applies to an object without owners shares all it has with "before-first-apply".

    Source: kubernetes.io/docs/reference/using-api/server-side-apply, "Clearing managedFields"; apimachinery,
    pkg/util/managedfields/internal/skipnonapplied.go.
    """
    one: dict[str, Any] = {"f:metadata": {"f:labels": {f"f:{labels.SERVER}": {}}}}
    owner = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": desired["apiVersion"]}
    return {"metadata": {"managedFields": [{**owner, "fieldsType": "FieldsV1", "fieldsV1": one}]}}


def _controllers(live: Body) -> list[tuple[str, str, str]]:
    owners = live["metadata"].get("ownerReferences", [])
    return [(owner["kind"], owner["name"], owner["uid"]) for owner in owners if owner.get("controller")]


def _owner(desired: Manifest) -> tuple[str, str, str]:
    owner = desired["metadata"]["ownerReferences"][0]
    return owner["kind"], owner["name"], owner["uid"]


def _is_controlled(live: Body, desired: Manifest) -> bool:
    return _controllers(live) == [_owner(desired)]


def _is_dying(live: Body, desired: Manifest) -> bool:
    """Tell whether it is a TFModel's of the same name and another UID: that one no longer exists."""
    return [controller[:2] for controller in _controllers(live)] == [_owner(desired)[:2]]


def _was_left_behind(live: Body, desired: Manifest) -> bool:
    marks = live["metadata"].get("labels", {})
    return not _controllers(live) and all(marks.get(key) == value for key, value in desired["metadata"]["labels"].items())


def _taken(live: Body | None, desired: Manifest) -> str:
    """Say whose the name is that ``desired`` needs: nobody is to be told to delete what serves."""
    what, owner = " ".join(_name(desired)), _owner(desired)[0]
    ours = [controller for controller in _controllers(live) if controller[0] in _WRITTEN] if live is not None else []
    if ours:
        return f"{what} belongs to {' '.join(ours[0][:2])}: give the {owner} another name"
    return f"{what} exists already and was not made by this operator: delete it, or give the {owner} another name"


def _same(live: Body, seen: Body | None) -> bool:
    """Tell whether two states of an object differ in nothing that could be ours."""
    if seen is None:
        return False
    return all(live.get(part) is seen.get(part) or _without_version(live, part) == _without_version(seen, part) for part in PARTS)


def _without_version(body: Body, part: str) -> Any:
    return {**body[part], "resourceVersion": ""} if part == "metadata" else body.get(part)


def _name(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _digest(desired: Manifest) -> str:
    return str(desired["metadata"]["annotations"][APPLIED])


def _marked(manifest: Manifest) -> dict[str, Any]:
    metadata = dict(manifest["metadata"])
    metadata["annotations"] = {**metadata.get("annotations", {}), APPLIED: compare.digest(manifest)}
    return {**manifest, "metadata": metadata}
