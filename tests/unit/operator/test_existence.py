"""Whether a TFModel is there, when its children are not: what fell into a gap of a watch is never told."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.unit.operator.makers import body
from tests.unit.operator.wire import api, run, status
from tfmodel_operator.cluster import existence
from tfmodel_operator.cluster.store import Store

KEY = ("ml", "half")


def found(**metadata):
    made = body()
    made["metadata"] |= {"resourceVersion": "9", **metadata}
    return made


@pytest.mark.parametrize(
    ("answer", "exists", "stored"),
    [
        pytest.param(found(), True, "9", id="as it was"),
        pytest.param(None, False, None, id="gone"),
        pytest.param(found(uid="another"), False, "9", id="made anew"),
        pytest.param(found(deletionTimestamp="2026-01-01T00:00:00Z"), False, "9", id="on its way out"),
    ],
)
def test_the_api_server_is_asked_and_the_store_told(answer, exists, stored):
    async def reply(_):
        return status(404) if answer is None else web.json_response(answer)

    async def test():
        store = Store()
        store.upsert("TFModel", body())
        async with api(reply) as client:
            assert await existence.exists(body(), client, store) is exists
        kept = store.model(KEY)
        assert (kept and kept["metadata"]["resourceVersion"]) == stored

    run(test)
