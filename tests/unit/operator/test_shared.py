"""What a model on a shared server is told of: itself, and nothing of its neighbours."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.makers import joined_body, joined_model, server_body, version
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.status import joined as statuses
from tfmodel_operator.status import server as servers
from tfmodel_serving.state import AgentState, ModelState

POOL = ("ml", "shared.pool")
MEMBERS = {name: joined_model(name) for name in ("a", "b")}
ENDPOINTS = {"rest": "http://a.ml.svc:8501/v1/models/a", "grpc": "a.ml.svc:8500"}


def model(name, *versions, available=True):
    return ModelState(name, versions=versions or (version(1),), available=available)


def pod(name="pool-1", *models, ready=True, config_hash="new", **given):
    agent = AgentState(name, config_hash, ready=ready, settled=False, step="busy with others", models=models)
    return facts.PodFacts(name, ready=ready, agent_started=True, agent=agent, claims=frozenset({"models"}), **given)


def sliced(*pods, knows=lambda config_hash, name: config_hash == "new"):
    return observed.by_model(pods, MEMBERS, "new", knows)


def judged(*pods, problem=None, home=None, **given):
    seen = facts.Facts(
        model=MEMBERS["a"], config_hash="new", config_problem=problem, deployment=facts.DeploymentFacts(wanted=len(pods)),
        pods=statuses.serving(sliced(*pods, **given)["a"]),
    )  # fmt: skip
    return statuses.of_joined(seen, seen.pods if home is None else home, "pool", {}, ENDPOINTS, "2026-01-01T00:00:00Z")


def condition(status, kind="Ready"):
    return next((one for one in status["conditions"] if one["type"] == kind), {})


def test_a_neighbours_news_are_none():
    before = sliced(pod("pool-1", model("a"), model("b", version(1, "LOADING"), available=False)))
    after = sliced(pod("pool-1", model("a"), model("b", version(1, message="failed to load: no", state="END"), available=False)))
    assert before["a"] == after["a"]
    assert before["b"] != after["b"]


def test_a_config_that_changed_for_others_only_is_as_good():
    """Each join changes the hash: its neighbours must not be called anything but Ready for that."""
    behind = pod("pool-1", model("a"), config_hash="old")
    assert condition(judged(behind, knows=lambda config_hash, name: True))["status"] == "True"
    assert condition(judged(behind))["reason"] == "WaitingForPods"


def test_pods_that_only_start_are_the_servers_affair():
    starting = pod("pool-2", model("a", version(1, ""), available=False), ready=False)
    status = judged(pod("pool-1", model("a")), starting)
    assert condition(status)["status"] == "True"
    assert status["server"]["pods"] == "1/2"
    assert condition(judged(starting))["status"] == "False", "where none serves they count"


def test_a_model_that_a_report_has_no_room_for_is_never_ready():
    short = dataclasses.replace(pod("pool-1", model("b")).agent, left_out="all but 1 of 2 models")
    status = judged(dataclasses.replace(pod(), agent=short))
    assert condition(status)["reason"] == "WaitingForPods"
    assert "too long to have it (all but 1 of 2 models)" in condition(status)["message"]


def test_a_pod_without_the_claim_is_waited_for_with_words():
    status = judged(dataclasses.replace(pod("pool-1", model("a")), claims=frozenset()))
    assert condition(status)["reason"] == "RollingOut"
    assert "pool-1 is without PersistentVolumeClaim models" in condition(status)["message"]
    assert "the other models go on serving" in condition(status)["message"]


def test_models_of_a_server_that_is_scaled_to_zero_say_so():
    seen = facts.Facts(model=MEMBERS["a"], config_hash="new", deployment=facts.DeploymentFacts(observed=True, wanted=0), pods=())
    status = statuses.of_joined(seen, (), "pool", {}, ENDPOINTS, "2026-01-01T00:00:00Z")
    assert condition(status)["message"] == "the server has no pods: it is scaled to zero"


def test_one_that_cannot_join_says_why_and_clients_of_its_old_home_get_answers():
    problem = Finding("False", Reason.SERVER_FULL, "full")
    home = sliced(pod("old-1", model("a")))["a"]
    status = judged(problem=problem, home=home)
    assert (condition(status)["reason"], condition(status, "Stalled")["status"]) == ("ServerFull", "True")
    assert condition(status, "Available")["status"] == "True"


@pytest.mark.parametrize(
    ("models", "answers"),
    [((model("a"),), (True, True)), ((model("a", available=False),), (False, False)), ((), (False, False))],
    ids=["it answers", "it doesn't", "it isn't there"],
)
def test_which_pods_answer(models, answers):
    assert observed.answers([pod("pool-1", *models)], "a") == answers
    assert observed.answers([pod("pool-1", *models, ready=False)], "a") == (False, False)


def test_what_models_weigh():
    heavy = model("a", version(1, size_bytes=300), version(2, "", wanted=False, size_bytes=500))
    pods = [pod("pool-1", heavy, model("b", version(1, size_bytes=7))), pod("pool-2", heavy)]
    assert observed.sizes(pods) == {"a": 500, "b": 7}
    assert observed.disk_bytes(pods) == 307, "versions in use, each once"


def test_a_servers_status_counts():
    seen = facts.ServerFacts(config_hash="new", deployment=facts.DeploymentFacts(True, 1, 1, 1, 1), pods=(pod(),))
    load = servers.Load(joined=3, loaded=2, refused=1, budget="2 GiB", estimated="1 GiB")
    from tfmodel_operator.api import spec

    status = servers.status(spec.parse_server(server_body()), seen, load, {}, "2026-01-01T00:00:00Z")
    assert status["models"] == {"joined": 3, "loaded": 2, "refused": 1, "summary": "2/3"}
    assert status["memory"]["summary"] == "1 GiB of 2 GiB"
    assert status["selector"] == "serving.tfmodel.dev/server=shared.pool"
    assert condition(status)["status"] == "True", "one model that isn't loaded is no failure of the server"


class TestStore:
    def model(self, version=1, **given):
        made = joined_body("a", **given)
        made["metadata"]["resourceVersion"] = str(version)
        return made

    def service(self, server, version=1, moved=""):
        metadata = {"name": "a", "namespace": "ml", "uid": "service", "resourceVersion": str(version), "labels": {"serving.tfmodel.dev/server": "a"}}
        annotations = {"annotations": {"serving.tfmodel.dev/moved": moved}} if moved else {}
        return {"metadata": {**metadata, **annotations}, "spec": {"selector": {"serving.tfmodel.dev/server": server}}}

    def test_a_model_is_news_for_the_server_it_asks_for_and_the_one_it_leaves(self):
        store = Store()
        assert set(store.upsert("TFModel", self.model())) == {("ml", "a"), POOL}
        assert store.pointing(POOL) == [("ml", "a")]
        assert set(store.upsert("TFModel", self.model(2, server="other"))) == {("ml", "a"), POOL, ("ml", "shared.other")}
        assert store.pointing(POOL) == []

    def test_its_status_alone_is_none(self):
        store = Store()
        store.upsert("TFModel", self.model())
        assert store.upsert("TFModel", {**self.model(2), "status": {"observedGeneration": 1}}) == [("ml", "a")]

    def test_a_service_counts_until_it_has_left(self):
        store = Store()
        store.upsert("TFModel", self.model(server="other"))
        store.upsert("Service", self.service("shared.pool"))
        assert store.pointing(POOL) == [("ml", "a")]
        store.upsert("Service", self.service("shared.other", 2, moved="shared.pool 2026-01-01T00:00:00Z"))
        assert store.pointing(POOL) == [("ml", "a")], "it stays loaded there for a while"
        assert POOL in store.upsert("Service", self.service("shared.other", 3))
        assert store.pointing(POOL) == []

    def test_a_choice_counts_only_with_a_selector(self):
        chosen = {"server": {"name": "pool", "kind": "Shared"}}
        store = Store()
        store.upsert("TFModel", {**self.model(serverSelector={}), "status": chosen})
        assert store.pointing(POOL) == [("ml", "a")]
        assert store.selecting("ml") == [("ml", "a")]
        store.upsert("TFModel", {**self.model(2, server="other"), "status": chosen})
        assert store.pointing(POOL) == []

    def test_a_server_and_a_model_of_one_name_are_two(self):
        store = Store()
        store.upsert("TFModelServer", {**server_body("a"), "metadata": {**server_body("a")["metadata"], "resourceVersion": "1"}})
        store.upsert("TFModel", self.model())
        assert store.owner(("ml", "shared.a"))["kind"] == "TFModelServer"
        assert store.owner(("ml", "a"))["kind"] == "TFModel"
        assert store.models() == [("ml", "a")]
        assert store.remove("TFModel", self.model()) == [("ml", "a"), POOL]

    @pytest.mark.parametrize("spec", ["text", {"serverRef": 3}, {"serverRef": {"name": 3}}, {"serverSelector": [], "serverRef": None}])
    def test_what_an_older_schema_let_in_breaks_nothing(self, spec):
        assert Store().upsert("TFModel", {**self.model(), "spec": spec}) == [("ml", "a")]
