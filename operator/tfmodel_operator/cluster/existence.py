"""Whether a TFModel is still there, when something takes its children away."""

from __future__ import annotations

from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.store import Body, Store


async def exists(body: Body, client: ApiClient, store: Store) -> bool:
    """Ask the API server, and have the store know what it says.

    A deletion that fell into a gap of the watch is never told; children of such a ghost would be collected and made for ever.
    """
    metadata = body["metadata"]
    try:
        found = await client.get(kinds.MODEL, metadata["namespace"], metadata["name"])
    except errors.NotFound:
        store.remove(kinds.MODEL.name, body)
        return False
    if store.model((metadata["namespace"], metadata["name"])) is not None:  # else the watch has told of it meanwhile
        store.upsert(kinds.MODEL.name, found)
    return bool(found["metadata"]["uid"] == metadata["uid"]) and "deletionTimestamp" not in found["metadata"]
