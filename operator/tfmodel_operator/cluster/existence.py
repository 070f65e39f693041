"""Whether a TFModel or TFModelServer is still there, when something takes its children away."""

from __future__ import annotations

from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.store import Body, Store


async def exists(body: Body, client: ApiClient, store: Store) -> bool:
    """Ask the API server, and have the store know what it says.

    A deletion that fell into a gap of the watch is never told; children of such a ghost would be collected and made for ever.
    """
    metadata, kind = body["metadata"], kinds.BY_NAME[body["kind"]]
    try:
        found = await client.get(kind, metadata["namespace"], metadata["name"])
    except errors.NotFound:
        store.remove(kind.name, body)
        return False
    if store.find(body) is not None:  # else the watch has told of it meanwhile
        store.upsert(kind.name, found)
    return bool(found["metadata"]["uid"] == metadata["uid"]) and "deletionTimestamp" not in found["metadata"]
