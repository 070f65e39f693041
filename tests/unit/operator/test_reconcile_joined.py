"""Passes over models on shared servers, of which not all is known: what serves is left alone until it is."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.unit.operator.makers import body, joined_body, joined_model, model_server, server_body
from tests.unit.operator.test_reconcile import Cluster, world
from tests.unit.operator.wire import run, status
from tfmodel_operator import reconcile, server_objects
from tfmodel_operator.api import facts, labels
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.plan import service
from tfmodel_operator.world import Shared

KEY, OLD, NEW = ("ml", "a"), ("ml", "shared.old"), ("ml", "shared.new")


def child(kind, name, **metadata):
    return {"kind": kind, "metadata": {"name": name, "namespace": "ml", "uid": f"uid-of-{name}", "resourceVersion": "8", **metadata}}


def selected(made):
    return [one["spec"]["selector"][labels.SERVER] for one in made if one["kind"] == "Service"]


def given(there, old, *, mark=labels.ANSWERS):
    """A model that asks for `new`, which has not loaded it yet, while its Service selects a ready pod of `old`."""
    model = joined_model("a", "new")
    there.store.upsert("TFModel", joined_body("a", "new"))
    for one in old:
        there.store.upsert("TFModelServer", one)
    there.store.upsert("TFModelServer", server_body("new"))
    home = service.service(model, model_server("old").server, "shared.old")
    home["metadata"] |= {"uid": "uid-of-service", "resourceVersion": "8"}
    there.store.upsert("Service", home)
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    marks = {labels.of_model("a"): mark} if mark else {}
    there.store.upsert("Pod", child("Pod", "old-1", labels={labels.SERVER: "shared.old", **marks}) | {"status": ready})
    seen = facts.ServerFacts(config_hash="hash", config_problem=None, deployment=facts.DeploymentFacts(), pods=())
    there.shared[NEW] = Shared(server=model_server("new"), members={"a": model}, refused={}, seen=seen, pods={"a": ()}, steps={})


@pytest.mark.parametrize(
    ("old", "is_invalid", "mark", "expected"),
    [
        ([server_body("old")], False, labels.ANSWERS, []),
        ([server_body("old")], True, labels.ANSWERS, ["shared.old"]),
        ([], False, labels.ANSWERS, ["shared.old"]),
        ([server_body("old") | {"metadata": {**server_body("old")["metadata"], "deletionTimestamp": "now"}}], False, "", ["shared.new"]),
    ],
    ids=["nobody has looked at it yet", "its spec can't be acted on", "it is gone, and has left its pods", "it is going, and none of its pods serves"],
)
def test_a_service_stays_on_pods_of_which_nothing_is_known_until_others_answer(old, is_invalid, mark, expected):
    async def test():
        cluster = Cluster()
        async with world(cluster) as there:
            given(there, old, mark=mark)
            if is_invalid:
                there.invalid[OLD] = Finding("False", Reason.INVALID_SPEC, "no")
            await reconcile.reconcile(KEY, there)
        assert selected(cluster.written) == expected

    run(test)


@pytest.mark.parametrize("wish", ["own", "new"], ids=["from a shared server to its own", "from its own server to a shared one"])
def test_a_move_between_own_and_shared_servers_waits_as_well(wish):
    async def test():
        cluster = Cluster()
        async with world(cluster) as there:
            given(there, [server_body("old")])
            moved = service.service(joined_model("a", "new"), model_server("old").server, "shared.old" if wish == "own" else "a")
            moved["metadata"] |= {"uid": "uid-of-service", "resourceVersion": "9"}
            there.store.upsert("Service", moved)
            if wish == "own":
                there.store.upsert("TFModel", {**body("a"), "metadata": {**body("a")["metadata"], "uid": "uid-of-a", "resourceVersion": "9"}})
            owner = {"kind": "ReplicaSet", "name": "a-123", "controller": True}
            own = child("Pod", "a-1", labels={labels.SERVER: "a", "pod-template-hash": "123"}, ownerReferences=[owner])
            there.store.upsert("Pod", own | {"status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}})
            await reconcile.reconcile(KEY, there)
        assert cluster.written == []

    run(test)


@pytest.mark.parametrize(
    ("message", "answer", "absent"),
    [
        ('0/1 nodes are available: persistentvolumeclaim "models" not found', None, {"models"}),
        ('0/1 nodes are available: persistentvolumeclaim "models" is being deleted', {"deletionTimestamp": "now"}, set()),
        ("0/1 nodes are available: 1 Insufficient cpu", None, set()),
    ],
    ids=["it is gone", "a pod that runs still has it", "it isn't for a claim"],
)
def test_a_mounted_claim_is_asked_for_when_a_pod_cannot_start_without_it(message, answer, absent):
    template = {"spec": {"volumes": [{"name": "source", "persistentVolumeClaim": {"claimName": "models"}}]}}
    made = child("Deployment", "pool", labels={labels.SERVER: "shared.pool"}, generation=1) | {"spec": {"template": template}}
    owner = {"kind": "ReplicaSet", "name": "pool-123", "controller": True}
    marks = {labels.SERVER: "shared.pool", "pod-template-hash": "123"}
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}

    async def api(request):
        return status(404) if answer is None else web.json_response({"kind": "PersistentVolumeClaim", "metadata": answer})

    async def test():
        async with world(api) as there:
            there.store.upsert("Deployment", made)
            there.store.upsert("Pod", child("Pod", "pool-1", labels=marks, ownerReferences=[owner]) | {"status": {"conditions": [waiting]}})
            found = await server_objects._absent(model_server("pool"), {"a": joined_model("a")}, ("ml", "shared.pool"), there)
        assert found == absent

    run(test)
