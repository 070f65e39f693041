from __future__ import annotations

from tests.unit.operator.makers import body
from tfmodel_operator.cluster.store import Store


def child(kind, name, server="half", version="1", uid="u"):
    labels = {"serving.tfmodel.dev/server": server} if server else {}
    return {"kind": kind, "metadata": {"name": name, "namespace": "ml", "uid": uid, "resourceVersion": version, "labels": labels}}


def test_children_belong_to_the_server_in_their_label():
    store = Store()
    for kind, name in (
        ("ConfigMap", "half-models"),
        ("Deployment", "half"),
        ("Service", "half"),
        ("Pod", "half-1"),
        ("Pod", "half-2"),
    ):
        assert store.upsert(kind, child(kind, name)) == ("ml", "half")
    found = store.children(("ml", "half"))
    assert [found.configmap, found.deployment, found.service].count(None) == 0
    assert len(found.pods) == 2
    assert store.upsert("Pod", child("Pod", "stranger", server="")) is None
    store.remove("Pod", child("Pod", "half-1"))
    assert [pod["metadata"]["name"] for pod in store.children(("ml", "half")).pods] == ["half-2"]


def test_an_event_older_than_our_own_write_does_not_undo_it():
    store = Store()
    store.upsert("Deployment", child("Deployment", "half", version="10"))
    store.upsert("Deployment", child("Deployment", "half", version="9"))
    assert store.children(("ml", "half")).deployment["metadata"]["resourceVersion"] == "10"
    store.upsert("Deployment", child("Deployment", "half", version="3", uid="another"))
    assert store.children(("ml", "half")).deployment["metadata"]["uid"] == "another"


def test_a_deleted_model_is_gone():
    store = Store()
    key = store.upsert("TFModel", body())
    assert store.model(key) is not None
    store.remove("TFModel", body())
    assert store.model(key) is None
