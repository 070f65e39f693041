"""What it takes to make one object: no question before, and nothing of anybody else's touched."""

from __future__ import annotations

import copy
import json

import pytest
from aiohttp import web

from tests.unit.operator.makers import joined_body, joined_model, model_server
from tests.unit.operator.wire import api, page, run, status
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.apply import NEVER, Applier
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.cluster.strangers import Strangers
from tfmodel_operator.plan import service

KEY = ("ml", "a")


class Cluster:
    """An API server that keeps to resource versions, as apply does.

    Args:
        controller: UID of what controls the Service that is there already; None: there is none.
    """

    def __init__(self, controller=None):
        self.controller, self.asked = controller, []

    async def __call__(self, request):
        self.asked.append(request.method)
        if request.method == "GET":
            return page([{"metadata": {"name": "a", "ownerReferences": [{"uid": self.controller, "controller": True}]}}], 9)
        made = json.loads(await request.text())
        if self.controller is not None and made["metadata"].get("resourceVersion") == NEVER:
            return status(409)
        metadata = {"name": "a", "namespace": "ml", **made["metadata"], "uid": "1", "resourceVersion": str(100 + len(self.asked))}
        return web.json_response({**made, "metadata": metadata})


def applied(cluster):
    wanted = service.service(joined_model("a"), model_server().server, "shared.pool")

    async def test():
        async with api(cluster) as client:
            store = Store()
            store.upsert("TFModel", joined_body("a"))
            applier = Applier(client, store, Strangers(client))
            await applier.apply([wanted], KEY)
            assert await applier.apply([wanted], KEY), "what has been made is in place"

    run(test)


def test_one_object_that_is_not_there_takes_one_request():
    cluster = Cluster()
    applied(cluster)
    assert cluster.asked == ["PATCH"]


@pytest.mark.parametrize(
    ("controller", "error"),
    [("", errors.ForeignObject), ("another", errors.ForeignObject), ("uid-of-a", errors.Conflict)],
    ids=["nobody's", "another's", "ours, without the label"],
)
def test_one_that_is_there_is_not_overwritten(controller, error):
    cluster = Cluster(controller)
    with pytest.raises(error):
        applied(cluster)
    assert cluster.asked[:2] == ["PATCH", "GET"]


def test_who_has_a_needed_name_of_us_is_named_and_not_to_be_deleted():
    theirs = service.service(joined_model("a"), model_server().server, "shared.pool")
    theirs["metadata"] |= {"uid": "2", "resourceVersion": "2"}
    wanted = copy.deepcopy(theirs)
    wanted["metadata"]["ownerReferences"][0] |= {"kind": "TFModelServer", "uid": "another"}

    async def test():
        async with api(Cluster()) as client:
            store = Store()
            store.upsert("Service", theirs)
            await Applier(client, store, Strangers(client)).apply([wanted, {**wanted, "kind": "ConfigMap"}], KEY)

    with pytest.raises(errors.ForeignObject) as raised:
        run(test)
    assert str(raised.value) == "Service a belongs to TFModel a: give the TFModelServer another name"


def test_the_server_that_a_service_leaves_is_told():
    told = []

    async def test():
        async with api(Cluster()) as client:
            store = Store()
            store.upsert("TFModel", joined_body("a"))
            applier = Applier(client, store, Strangers(client), told.append)
            model, server = joined_model("a"), model_server().server
            await applier.apply([service.service(model, server, "shared.pool")], KEY)
            del told[:]
            await applier.apply([service.service(model, server, "a", "shared.pool 2026-01-01T00:00:00Z")], KEY)

    run(test)
    assert told == [("ml", "shared.pool")]
