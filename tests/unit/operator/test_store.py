from __future__ import annotations

import copy
import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operator.makers import body
from tfmodel_operator.api import labels
from tfmodel_operator.cluster.store import Store

KEY = ("ml", "half")


def child(kind, name, server="half", version=1, uid="u", **parts):
    marks = {labels.SERVER: server} if server else {}
    metadata = {"name": name, "namespace": "ml", "uid": uid, "resourceVersion": str(version), "labels": marks}
    return {"kind": kind, "metadata": metadata, **parts}


def names(store, key=KEY):
    return sorted(f"{kind}/{name}" for kind, name in store.children(key).objects)


def test_children_belong_to_the_server_in_their_label():
    store = Store()
    for kind, name in (("ConfigMap", "half-models"), ("Deployment", "half"), ("Pod", "half-2"), ("Pod", "half-1")):
        assert store.upsert(kind, child(kind, name)) == [KEY]
    assert store.upsert("Pod", child("Pod", "stranger", server="")) == []
    found = store.children(KEY)
    assert found.deployment["metadata"]["name"] == "half"
    assert [pod["metadata"]["name"] for pod in found.pods] == ["half-1", "half-2"]
    assert {one["kind"] for one in found.owned} == {"ConfigMap", "Deployment"}
    assert store.remove("Pod", child("Pod", "half-1", version=2)) == [KEY]
    assert [pod["metadata"]["name"] for pod in store.children(KEY).pods] == ["half-2"]


def test_a_child_whose_label_names_another_server_is_news_for_both():
    store = Store()
    store.upsert("Service", child("Service", "half"))
    assert store.upsert("Service", child("Service", "half", server="other", version=2)) == [KEY, ("ml", "other")]
    assert (names(store), names(store, ("ml", "other"))) == ([], ["Service/half"])
    assert store.find(child("Service", "half"))["metadata"]["resourceVersion"] == "2"


def test_older_states_are_left_out():
    store = Store()
    store.upsert("Deployment", child("Deployment", "half", version=10))
    assert store.upsert("Deployment", child("Deployment", "half", version=9)) == []
    assert store.upsert("Deployment", child("Deployment", "half", version=10)) == []
    assert store.remove("Deployment", child("Deployment", "half", version=9)) == []  # of an earlier life
    assert store.children(KEY).deployment["metadata"]["resourceVersion"] == "10"
    store.upsert("Deployment", child("Deployment", "half", version=30, uid="another"))
    assert store.children(KEY).deployment["metadata"]["uid"] == "another"


def test_what_only_the_api_server_counts_is_no_news():
    store = Store()
    store.upsert("Service", child("Service", "half", spec={"a": [1]}, status={"loadBalancer": {}}))
    before = store.find(child("Service", "half"))
    assert store.upsert("Service", child("Service", "half", version=2, spec={"a": [1]}, status={"loadBalancer": {"b": 1}})) == []
    after = store.find(child("Service", "half"))
    assert after["metadata"]["resourceVersion"] == "2"
    assert after["spec"] is before["spec"]


def test_the_edition_changes_with_what_a_plan_depends_on():
    store = Store()
    store.upsert("TFModel", body())
    seen = [store.edition(KEY)]

    def after(kind, one):
        store.upsert(kind, one)
        seen.append(store.edition(KEY))
        return seen[-1] != seen[-2]

    assert after("Deployment", child("Deployment", "half", spec={"replicas": 1}))
    assert not after("Deployment", child("Deployment", "half", version=2, spec={"replicas": 1}, status={"replicas": 1}))
    assert not after("Pod", child("Pod", "half-1"))
    assert after("Deployment", child("Deployment", "half", version=4, spec={"replicas": 3}))
    model = body(generation=4)
    model["metadata"]["resourceVersion"] = "8"
    assert after("TFModel", model)
    model = copy.deepcopy(model) | {"status": {"observedGeneration": 4}}
    model["metadata"]["resourceVersion"] = "9"
    assert not after("TFModel", model)
    store.remove("Deployment", child("Deployment", "half", version=5))
    assert store.edition(KEY) != seen[-1]


def test_a_list_ends_what_it_no_longer_has_and_leaves_what_is_younger_than_it():
    store = Store()
    store.upsert("TFModel", body())
    for number, version in (("1", 1), ("2", 2), ("3", 9)):
        store.upsert("Pod", child("Pod", f"half-{number}", uid=number, version=version))
    assert store.replace("Pod", "elsewhere", set(), "5") == []
    assert store.replace("Pod", None, {"1"}, "5") == [KEY]
    assert names(store) == ["Pod/half-1", "Pod/half-3"]
    assert store.replace("TFModel", "ml", set(), "100") == [KEY]
    assert store.model(KEY) is None
    assert store.models() == []


def test_strings_are_shared_between_objects():
    store = Store()
    for name in ("a", "b"):
        store.upsert("Service", json.loads(json.dumps(child("Service", name, uid=name, spec={"type": "ClusterIP"}))))
    first, second = (store.find(child("Service", name)) for name in ("a", "b"))
    assert first["spec"]["type"] is second["spec"]["type"]
    assert next(iter(first["spec"])) is next(iter(second["spec"]))


def test_little_is_kept_of_a_pod():
    store = Store()
    pod = child(
        "Pod",
        "half-1",
        spec={"nodeName": "n1", "containers": [{"name": "model-server", "env": ["…"] * 100}]},
        status={
            "podIP": "10.0.0.1",
            "hostIP": "10.9.9.9",
            "containerStatuses": [{"name": "model-server", "ready": True, "imageID": "sha256:…", "restartCount": 3}],
        },
    )
    pod["metadata"]["managedFields"] = [{}]
    store.upsert("Pod", pod)
    kept = store.children(KEY).pods[0]
    assert kept["spec"] == {"nodeName": "n1"}
    assert kept["status"] == {
        "podIP": "10.0.0.1",
        "containerStatuses": [{"name": "model-server", "ready": True, "restartCount": 3}],
    }
    assert "managedFields" not in kept["metadata"]
    assert "managedFields" in pod["metadata"], "what others hold is not changed"


# What exists is a history of states. A watch tells all of it in order, a list what is there at one moment; the answers to our
# own writes come whenever they like. However they mix, the store ends up with the last state.
STEPS = st.lists(st.sampled_from(["write", "touch", "delete", "tell", "answer", "list"]), max_size=60)


class History:
    """One ConfigMap through time, and what has not reached the store yet."""

    def __init__(self):
        self.store, self.versions, self.uids = Store(), itertools.count(1), itertools.count(1)
        self.live, self.untold, self.unanswered = None, [], []

    def write(self, by="write"):
        uid = self.live["metadata"]["uid"] if self.live else str(next(self.uids))
        self.live = child("ConfigMap", "half-models", version=next(self.versions), uid=uid, data={"by": by})
        self.untold.append((self.store.upsert, self.live))
        if by == "write":
            self.unanswered.append(self.live)

    def touch(self):
        if self.live:
            self.write("touch")

    def delete(self):
        if self.live:
            gone = copy.deepcopy(self.live)
            gone["metadata"]["resourceVersion"] = str(next(self.versions))
            self.untold.append((self.store.remove, gone))
            self.live = None

    def tell(self):
        if self.untold:
            feed, one = self.untold.pop(0)
            feed("ConfigMap", one)

    def answer(self):
        if self.unanswered:
            self.store.upsert("ConfigMap", self.unanswered.pop(0), ours=True)

    def list(self):
        self.untold = []
        if self.live:
            self.store.upsert("ConfigMap", self.live)
        self.store.replace("ConfigMap", None, {self.live["metadata"]["uid"]} if self.live else set(), str(next(self.versions)))


@settings(max_examples=500, deadline=None)
@given(STEPS, st.sampled_from([("tell", "answer"), ("answer", "tell")]))
def test_the_store_ends_up_with_what_exists(steps, at_the_end):
    history = History()
    for step in steps:
        getattr(history, step)()
    for step in at_the_end:
        for _ in steps:
            getattr(history, step)()
    stored = history.store.find(child("ConfigMap", "half-models"))
    assert (stored and stored["metadata"]["resourceVersion"]) == (history.live and history.live["metadata"]["resourceVersion"])
