"""Several TFModels on one TFModelServer, with played pods: who is where, what they say, and what restarts nothing."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
import yaml

from tests import bad_specs
from tests.api.conftest import ROOT
from tests.api.played import Played
from tests.cluster.errors import CommandFailed

SECONDS = 20
PLAYED = {"schedulerName": "played"}
"""Else the scheduler says of each pod that there is no node."""
MODEL = "serving.tfmodel.dev/model-"


class Shared:
    """The test's namespace, in the words of these tests."""

    def __init__(self, cluster, namespace):
        self.cluster, self.namespace = cluster, namespace

    def get(self, kind, name):
        return self.cluster.get("-n", self.namespace, kind, name)

    def server(self, name="pool", **spec):
        given = {"volumes": [{"claimName": "models"}], "drainSeconds": 2, "pod": PLAYED, **spec}
        self.cluster.apply(self.body("TFModelServer", name, given))

    def model(self, name, on="pool", claim="models", **spec):
        joined = {"serverRef": {"name": on}} if on else {}
        source = {"persistentVolumeClaim": {"claimName": claim, "path": name}}
        self.cluster.apply(self.body("TFModel", name, {"source": source, **joined, **spec}))

    def claim(self, name):
        spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}
        self.cluster.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": self.namespace}, "spec": spec})

    def delete(self, kind, name):
        self.cluster.kubectl("-n", self.namespace, "delete", kind, name, "--wait=true")

    def condition(self, name, kind="Ready", of="tfmodel"):
        body = self.get(of, name)
        found = {one["type"]: one for one in body.get("status", {}).get("conditions", [])}.get(kind, {})
        return found if found.get("observedGeneration") == body["metadata"]["generation"] else {}

    def says(self, name, reason, kind="Ready", of="tfmodel"):
        return self.cluster.wait_for(
            f"{name} to say {reason}", lambda: self.condition(name, kind, of), SECONDS, done=lambda seen: seen.get("reason") == reason
        )

    def ready(self, *names):
        for name in names:
            self.says(name, "AsDesired")

    def pods(self, server="pool"):
        found = self.cluster.get("-n", self.namespace, "pods", "-l", f"serving.tfmodel.dev/server=shared.{server}")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    def answering(self, server="pool"):
        """Return the models by pod that pods are labelled with."""
        found = self.pods(server).items()
        return {name: {key.removeprefix(MODEL) for key in pod["metadata"]["labels"] if key.startswith(MODEL)} for name, pod in found}

    def config(self, server="pool"):
        return self.get("configmap", f"{server}-models")["data"]["models.config"]

    def points_to(self, name):
        return self.get("service", name)["spec"]["selector"]["serving.tfmodel.dev/server"]

    def body(self, kind, name, spec):
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def shared(cluster, namespace, operator):
    made = Shared(cluster, namespace)
    made.claim("models")
    return made


@pytest.fixture
def pods(cluster, namespace):
    with Played(cluster, namespace) as made:
        yield made


def test_two_models_share_one_server(shared, pods):
    shared.server(replicas=2)
    shared.model("enko")
    shared.model("koen", modelName="ko.en")
    shared.ready("enko", "koen")
    assert [one["metadata"]["name"] for one in shared.cluster.get("-n", shared.namespace, "deployments")["items"]] == ["pool"]
    assert list(shared.answering().values()) == [{"enko", "koen"}] * 2
    for name in ("enko", "koen"):
        assert shared.get("service", name)["spec"]["selector"] == {
            "serving.tfmodel.dev/server": "shared.pool",
            f"{MODEL}{name}": "available",
        }
    assert 'name: "ko.en"' in shared.config()
    status = shared.get("tfmodel", "koen")["status"]
    assert (status["server"]["name"], status["server"]["kind"], status["server"]["pods"]) == ("pool", "Shared", "2/2")
    assert status["endpoints"]["rest"].endswith(f"koen.{shared.namespace}.svc:8501/v1/models/ko.en")
    shared.says("pool", "AsDesired", of="tfmodelserver")
    shared.cluster.wait_for(
        "the server to count", lambda: shared.get("tfmodelserver", "pool")["status"]["models"], SECONDS,
        done=lambda seen: seen == {"joined": 2, "loaded": 2, "refused": 0, "summary": "2/2"},
    )  # fmt: skip


def test_many_that_join_at_once_say_ready_once_and_nothing_before(shared, pods):
    """A status for each of the moments on the way would be three writes, and Ready that is taken back alarms people."""
    for server in ("one", "two"):
        shared.server(server)
    names = [f"m{number:02}" for number in range(60)]
    source = {"claimName": "models"}
    shared.cluster.apply(
        *(
            shared.body("TFModel", name, {"source": {"persistentVolumeClaim": {**source, "path": name}}, "serverRef": {"name": server}})
            for name, server in zip(names, itertools.cycle(("one", "two")))
        )
    )
    shared.ready(*names)
    posted = shared.cluster.get("-n", shared.namespace, "events.events.k8s.io")["items"]
    about = Counter((one["regarding"]["name"], one["reason"]) for one in posted if one["regarding"]["kind"] == "TFModel")
    assert about == {(name, "AsDesired"): 1 for name in names}


def test_metrics_tell_of_servers(shared, pods, operator):
    shared.server(maxModels=1)
    shared.model("first")
    shared.ready("first")
    shared.model("second")
    shared.says("second", "ServerFull")
    of = f'namespace="{shared.namespace}"'
    for line in (
        f'tfmodelserver_models{{{of},state="joined",tfmodelserver="pool"}} 1.0',
        f'tfmodelserver_models{{{of},state="loaded",tfmodelserver="pool"}} 1.0',
        f'tfmodelserver_models{{{of},state="refused",tfmodelserver="pool"}} 1.0',
        f'tfmodelserver_pods{{{of},state="all",tfmodelserver="pool"}} 1.0',
        f'tfmodelserver_pods{{{of},state="ready",tfmodelserver="pool"}} 1.0',
        f'tfmodelserver_models_estimated_bytes{{{of},tfmodelserver="pool"}} 1200.0',
        f'tfmodelserver_status_condition{{{of},status="True",tfmodelserver="pool",type="Ready"}} 1.0',
    ):
        shared.cluster.wait_for(line, lambda: operator.get("/metrics")[1].splitlines(), SECONDS, done=lambda lines, line=line: line in lines)


def test_models_join_and_leave_and_nobody_else_notices(shared, pods):
    shared.server()
    shared.model("one")
    shared.ready("one")
    before, since = shared.pods().keys(), shared.condition("one")["lastTransitionTime"]
    shared.model("two")
    shared.ready("two")
    shared.delete("tfmodel", "two")
    shared.cluster.wait_for("the label to go", shared.answering, SECONDS, done=lambda seen: list(seen.values()) == [{"one"}])
    assert 'name: "two"' not in shared.config()
    assert shared.pods().keys() == before
    assert shared.condition("one")["lastTransitionTime"] == since


def test_a_model_that_does_not_load_harms_nobody(shared, pods):
    pods.break_models("bad")
    shared.server()
    shared.model("good")
    shared.model("bad")
    shared.ready("good")
    assert shared.says("bad", "ModelLoading")["status"] == "False"
    assert shared.condition("bad", "Available")["status"] == "False"
    assert list(shared.answering().values()) == [{"good"}], "the Service of the bad one has no endpoints"
    shared.says("pool", "AsDesired", of="tfmodelserver")
    pods.break_models()
    shared.ready("bad")
    pods.break_models("bad")
    shared.cluster.wait_for("the label to go", shared.answering, SECONDS, done=lambda seen: list(seen.values()) == [{"good"}])


def test_a_mark_that_somebody_has_set_sends_no_clients_to_the_pod(shared, pods):
    pods.break_models("broken")
    shared.server()
    for name in ("enko", "broken"):
        shared.model(name)
    shared.ready("enko")
    (name,) = shared.pods()
    shared.cluster.kubectl("-n", shared.namespace, "label", "pod", name, f"{MODEL}broken=available", f"{MODEL}nobody=available")
    shared.cluster.wait_for("the marks to go", shared.answering, SECONDS, done=lambda seen: seen == {name: {"enko"}})


def test_a_move_loads_first_then_switches_then_leaves(shared, pods):
    for name in ("old", "new"):
        shared.server(name)
    shared.model("mover", "old")
    shared.model("stays", "old")
    shared.ready("mover", "stays")
    before = shared.pods("old").keys() | shared.pods("new").keys()
    pods.break_models("mover")  # on the new server it can't be loaded yet; what the old one has stays loaded
    pods.break_models()
    shared.model("mover", "new")
    shared.cluster.wait_for("the switch", lambda: shared.points_to("mover") == "shared.new", SECONDS)
    assert {"mover"} in shared.answering("new").values(), "it answered there before"
    assert 'name: "mover"' in shared.config("old"), "clients that are still connected get answers"
    shared.ready("mover")
    shared.cluster.wait_for("the old server to be left", lambda: 'name: "mover"' not in shared.config("old"), 2 * SECONDS)
    shared.cluster.wait_for("the mark to go", lambda: "serving.tfmodel.dev/moved" not in shared.get("service", "mover")["metadata"]["annotations"], SECONDS)
    assert shared.pods("old").keys() | shared.pods("new").keys() == before
    shared.ready("stays")


def test_a_move_to_a_server_that_cannot_take_it_changes_nothing_for_clients(shared, pods):
    shared.server("old")
    shared.server("full", maxModels=1)
    shared.model("first", "full")
    shared.model("mover", "old")
    shared.ready("first", "mover")
    shared.model("mover", "full")
    assert "holds 1 models and may hold 1" in shared.says("mover", "ServerFull")["message"]
    assert shared.condition("mover", "Available")["status"] == "True"
    shared.model("mover", "nowhere")
    shared.says("mover", "ServerNotFound")
    assert shared.points_to("mover") == "shared.old"
    assert list(shared.answering("old").values()) == [{"mover"}]
    shared.delete("tfmodel", "first")
    shared.model("mover", "full")
    shared.cluster.wait_for("the switch", lambda: shared.points_to("mover") == "shared.full", SECONDS)


def test_of_two_equal_names_the_first_one_serves(shared, pods):
    shared.server()
    shared.model("first", modelName="same")
    shared.ready("first")
    shared.model("second", modelName="same")
    assert "TFModel first already" in shared.says("second", "NameConflict")["message"]
    assert shared.condition("second", "Stalled")["status"] == "True"
    shared.ready("first")
    shared.delete("tfmodel", "first")
    shared.ready("second")


def test_a_server_that_is_not_there_is_waited_for_and_one_that_is_deleted_comes_back(shared, pods):
    shared.model("early")
    assert shared.says("early", "ServerNotFound")["status"] == "False"
    assert shared.condition("early", "Stalled") == {}, "whoever applies both at once may wait for it"
    shared.server()
    shared.ready("early")
    shared.delete("tfmodelserver", "pool")
    shared.says("early", "ServerNotFound")
    shared.cluster.wait_for("the pods to go", shared.pods, SECONDS, done=lambda seen: not seen)
    assert shared.get("service", "early"), "its address stays"
    shared.server()
    shared.ready("early")


def test_a_service_of_the_name_that_is_not_ours_is_left_alone(shared, pods):
    stranger = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", "namespace": shared.namespace}, "spec": {"ports": [{"port": 80}]}}
    shared.cluster.apply(stranger)
    before = shared.get("service", "taken")
    shared.server()
    shared.model("taken")
    shared.model("good")
    assert "Service taken exists already" in shared.says("taken", "NameConflict")["message"]
    shared.ready("good")
    assert shared.get("service", "taken") == before
    shared.delete("service", "taken")
    shared.ready("taken")


def test_a_claim_that_does_not_exist_harms_nobody_and_is_mounted_when_it_does(shared, pods):
    shared.server()
    shared.model("good")
    shared.ready("good")
    before = shared.pods().keys()
    shared.model("late", claim="other")
    assert "PersistentVolumeClaim other does not exist" in shared.says("late", "SourceUnavailable")["message"]
    assert shared.pods().keys() == before
    shared.claim("other")
    shared.ready("late", "good")
    assert not shared.pods().keys() & before, "a claim that was not mounted in advance replaces the pods"


def test_a_model_that_asks_for_another_claim_keeps_its_files_until_all_pods_have_it(shared, pods):
    shared.server(replicas=2)
    shared.model("moves")
    shared.model("stays")
    shared.ready("moves", "stays")
    before = shared.answering()
    shared.model("moves", claim="other")
    assert "PersistentVolumeClaim other does not exist" in shared.says("moves", "SourceUnavailable")["message"]
    assert "/models/models/moves" in shared.config(), "a server that restarts has it again"
    assert shared.answering() == before
    shared.claim("other")
    shared.ready("moves", "stays")
    assert "/models/other/moves" in shared.config()
    assert not shared.answering().keys() & before.keys()
    assert list(shared.answering().values()) == [{"moves", "stays"}] * 2
    shared.model("moves")
    shared.ready("moves", "stays")
    assert "/models/models/moves" in shared.config()


def test_a_path_that_was_mistyped_is_never_taken_up(shared, pods):
    """Pods that restart could not serve from it."""
    shared.server()
    shared.model("moves")
    shared.model("stays")
    shared.ready("moves", "stays")
    pods.empty("/models/models/typo")
    path = lambda path: {"source": {"persistentVolumeClaim": {"claimName": "models", "path": path}}}  # noqa: E731
    shared.model("moves", **path("typo"))
    said = shared.says("moves", "NoVersionFound")
    assert "what is on PersistentVolumeClaim models, path moves goes on serving" in said["message"]
    assert shared.condition("moves", "Available")["status"] == "True"
    assert list(shared.answering().values()) == [{"moves", "stays"}]
    assert 'base_path: "/models/models/moves"' in shared.config()
    pods.empty()
    shared.ready("moves", "stays")
    assert 'base_path: "/models/models/typo"' in shared.config()
    assert "--next" not in shared.config()
    assert list(shared.answering().values()) == [{"moves", "stays"}]


def test_a_selector_chooses_and_keeps_its_choice(shared, pods):
    for name, budget in (("a", "1Gi"), ("b", "2Gi")):
        shared.server(name, memoryBudget=budget)
        shared.cluster.kubectl("-n", shared.namespace, "label", "tfmodelserver", name, "tier=gpu")
    shared.server("unlabelled")
    selector = {"matchLabels": {"tier": "gpu"}}
    shared.model("large", None, serverSelector=selector, memory="1500Mi")
    shared.model("small", None, serverSelector=selector, memory="600Mi")
    shared.ready("large", "small")
    assert [shared.get("tfmodel", name)["status"]["server"]["name"] for name in ("large", "small")] == ["b", "a"]
    shared.model("third", None, serverSelector=selector, memory="600Mi")
    assert "it needs 600 MiB" in shared.says("third", "ServerFull")["message"]
    shared.delete("tfmodel", "large")
    shared.ready("third")
    assert [shared.get("tfmodel", name)["status"]["server"]["name"] for name in ("small", "third")] == ["a", "b"]


def test_from_servers_of_its_own_to_a_shared_one_and_back(shared, pods):
    shared.server()
    shared.model("mover", None, server={"replicas": 1, "drainSeconds": 2, "pod": PLAYED})
    shared.ready("mover")
    assert shared.points_to("mover") == "mover"
    shared.cluster.kubectl(
        "-n", shared.namespace, "patch", "tfmodel/mover", "--type=json",
        "-p", json.dumps([{"op": "remove", "path": "/spec/server"}, {"op": "add", "path": "/spec/serverRef", "value": {"name": "pool"}}]),
    )  # fmt: skip
    shared.cluster.wait_for("the switch", lambda: shared.points_to("mover") == "shared.pool", SECONDS)
    assert list(shared.answering().values()) == [{"mover"}]
    shared.cluster.wait_for("its own server to go", lambda: not _exists(shared, "deployment", "mover"), 2 * SECONDS)
    shared.ready("mover")
    back = [{"op": "remove", "path": "/spec/serverRef"}, {"op": "add", "path": "/spec/server", "value": {"drainSeconds": 2, "pod": PLAYED}}]
    pods.hold()
    shared.cluster.kubectl("-n", shared.namespace, "patch", "tfmodel/mover", "--type=json", "-p", json.dumps(back))
    shared.says("mover", "WaitingForPods")
    assert shared.points_to("mover") == "shared.pool", "its own pods don't answer yet"
    pods.go_on()
    shared.cluster.wait_for("the way back", lambda: shared.points_to("mover") == "mover", SECONDS)
    shared.ready("mover")
    shared.cluster.wait_for("the shared one to be left", lambda: 'name: "mover"' not in shared.config(), 2 * SECONDS)


def _exists(shared, kind, name):
    return name in [one["metadata"]["name"] for one in shared.cluster.get("-n", shared.namespace, kind)["items"]]


def test_an_operator_that_starts_anew_writes_nothing(cluster, shared, pods, operator):
    shared.server()
    shared.model("one")
    shared.ready("one")
    shared.says("pool", "AsDesired", of="tfmodelserver")
    versions = lambda: [  # noqa: E731
        (body["kind"], body["metadata"]["name"], body["metadata"]["resourceVersion"])
        for kind in ("tfmodels", "tfmodelservers", "configmaps", "services", "deployments", "networkpolicies", "pods")
        for body in cluster.get("-n", shared.namespace, kind)["items"]
    ]
    settled = cluster.wait_for("rest", lambda: (versions(), versions()), SECONDS, done=lambda pair: pair[0] == pair[1])[0]
    shared.model("other")  # another pass over the server, and nothing for the first one
    shared.ready("other")
    mine = {one for one in settled if one[0] in {"TFModel", "Service", "Deployment"}}
    assert mine <= set(versions())


@pytest.mark.parametrize("bad", bad_specs.SERVERS_REFUSED, ids=str)
def test_bad_servers_are_refused_with_the_fix(cluster, namespace, bad):
    body = {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModelServer", "metadata": {"name": bad.name, "namespace": namespace}}
    with pytest.raises(CommandFailed) as refused:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps({**body, "spec": bad.spec}))
    assert bad.says in str(refused.value)


def test_the_golden_server_is_admitted_as_the_tests_know_it(cluster, namespace):
    from tests import schema

    for body in yaml.safe_load_all((ROOT / "tests/golden/shared/server.yaml").read_text()):
        body["metadata"] = {"name": body["metadata"]["name"], "namespace": namespace}
        created = json.loads(cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(body)))
        assert created["spec"] == schema.defaulted(body)["spec"]


def test_columns_and_scale(cluster, shared, namespace):
    shared.server(replicas=1)
    head = cluster.kubectl("-n", namespace, "get", "tfms").splitlines()[0].split()
    assert head == ["NAME", "READY", "MODELS", "PODS", "REASON", "AGE"]
    cluster.kubectl("-n", namespace, "scale", "tfms/pool", "--replicas=3")
    cluster.wait_for("three pods", lambda: shared.get("deployment", "pool")["spec"]["replicas"] == 3, SECONDS)


@pytest.mark.parametrize("arguments", [("--server-side",), ()], ids=["server-side", "client-side"])
def test_who_asked_for_servers_of_its_own_may_ask_for_a_shared_one(cluster, namespace, arguments):
    """What the API server had filled in below `server` must not stay behind when whoever wrote `server` takes it away."""

    def apply(**spec):
        source = {"persistentVolumeClaim": {"claimName": "models", "path": "m"}}
        body = {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModel", "metadata": {"name": "m", "namespace": namespace}}
        cluster.kubectl("apply", *arguments, "-f", "-", input=json.dumps({**body, "spec": {"source": source, **spec}}))
        return cluster.get("-n", namespace, "tfmodel", "m")["spec"]

    assert "server" in apply(server={"replicas": 2})
    assert "server" not in apply(serverRef={"name": "pool"})
    assert "serverRef" not in apply()
