"""When a pod of a shared server is ready, and that no model takes it from the others once it was."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.agent.simulation import AWAY_SECONDS, World
from tests.unit.agent.test_steps import FAILED, seen, wanted
from tfmodel_agent import crashes, failures, readiness
from tfmodel_agent import history as memory
from tfmodel_serving.agent_config import Readiness
from tfmodel_serving.model_config import Latest, Model, Specific
from tfmodel_serving.saved_model import Finding, Verdict

GONE = memory.Seen(message="gone")
CRASH = crashes.Crash(crashes.mark("files"), 1.0, alone=1)
FAILURE = failures.Failure("no SavedModel", 1.0)


@pytest.mark.parametrize(
    ("models", "server", "history", "now", "is_fed"),
    [
        pytest.param([], seen(), {}, 0.1, True, id="there is nothing to serve"),
        pytest.param([wanted("a", verified=[1])], seen(a={1: "LOADING"}), {}, 30.0, False, id="it is loading"),
        pytest.param([wanted("a", verified=[1])], seen(a={1: "AVAILABLE"}), {}, 0.1, True, id="it serves"),
        pytest.param([wanted("a--candidate", verified=[1])], seen(), {}, 0.1, True, id="a candidate is not waited for"),
        pytest.param([wanted("a")], seen(), {}, 1.0, False, id="the files have hardly been looked at"),
        pytest.param([wanted("a")], seen(), {}, 6.0, True, id="there is nothing good on the volume"),
        pytest.param([wanted("a", verified=[1])], seen(a={1: FAILED}), {"failures": {("a", 1): FAILURE}}, 9.0, True, id="it failed"),
        pytest.param([wanted("a", verified=[1])], seen(), {"crashes": {("a", 1): CRASH}}, 9.0, True, id="it took the server down"),
        pytest.param([wanted("a", verified=[1])], GONE, {}, 9.0, False, id="the server does not answer"),
        pytest.param([wanted("a", verified=[1])], seen(), {"is_fed": True}, 9.0, True, id="it joined later"),
        pytest.param([wanted("a", verified=[1])], seen(), {"was_fed": True}, 1.0, True, id="it joined, and then the server died"),
        pytest.param(
            [wanted("a", verified=[1])], seen(), {"was_fed": True, "served": {("a", 1)}}, 1.0, False, id="it is to be fed again"
        ),
        pytest.param(
            [wanted("a", verified=[1])], seen(), {"was_fed": True, "served": {("a", 1)}}, 6.0, True, id="feeding it takes long"
        ),
    ],
)
def test_a_server_is_fed_when_all_is_served_that_could_be_at_once(models, server, history, now, is_fed):
    given = memory.History(began_at=0.0, reachable=True, **history)
    assert readiness.is_fed(models, server, given, now) is is_fed


def test_a_dedicated_pod_is_ready_while_every_model_answers_and_a_shared_one_once_it_is_fed():
    two, one_serves = [wanted("a", verified=[1]), wanted("b", verified=[1])], seen(a={1: "AVAILABLE"}, b={1: FAILED})
    fed = memory.History(is_fed=True)
    assert not readiness.is_ready(Readiness.EVERY_MODEL, two, one_serves, fed)
    assert readiness.is_ready(Readiness.PER_MODEL, two, one_serves, fed)
    assert not readiness.is_ready(Readiness.PER_MODEL, two, one_serves, memory.History())
    trial = [wanted("a", verified=[1]), wanted("a--candidate", verified=[2])]
    assert readiness.is_ready(Readiness.EVERY_MODEL, trial, one_serves, fed), "no client is sent to a candidate"
    assert not readiness.is_ready(Readiness.PER_MODEL, two, GONE, fed), "a server that does not answer takes all along"


LABELLED = dataclasses.replace(wanted("a", verified=[1, 2]), model=Model("a", "/models/a", Latest(1), {"stable": 1, "next": 2}))


@pytest.mark.parametrize(
    ("server", "labels", "is_ready"),
    [
        pytest.param({1: "AVAILABLE", 2: "LOADING"}, {}, False, id="its label is not set yet"),
        pytest.param({1: "AVAILABLE", 2: "LOADING"}, {"stable": 1}, False, id="a label waits for its version"),
        pytest.param({1: "AVAILABLE", 2: FAILED}, {"stable": 1}, False, id="the version of a label doesn't load here"),
        pytest.param({1: "AVAILABLE", 2: "AVAILABLE"}, {"stable": 1}, False, id="one of two is not set yet"),
        pytest.param({1: "AVAILABLE", 2: "AVAILABLE"}, {"stable": 2, "next": 2}, False, id="a label is about to move"),
        pytest.param({1: "AVAILABLE", 2: "AVAILABLE"}, {"stable": 1, "next": 2}, True, id="both are set"),
    ],
)
def test_a_pod_that_starts_is_ready_when_clients_can_use_its_labels(server, labels, is_ready):
    fresh = memory.History(pushed={"a": memory.Served(frozenset(server), labels)}, reachable=True)
    for mode in Readiness:
        history = dataclasses.replace(fresh, is_fed=readiness.is_fed([LABELLED], seen(a=server), fresh, 9.0, mode))
        assert readiness.is_ready(mode, [LABELLED], seen(a=server), history) is is_ready
    served, restarted = (dataclasses.replace(fresh, **life) for life in ({"is_fed": True}, {"was_fed": True}))
    assert readiness.is_ready(Readiness.EVERY_MODEL, [LABELLED], seen(a=server), served), "one that serves is not taken out for a label"
    assert readiness.is_ready(Readiness.EVERY_MODEL, [LABELLED], seen(a=server), restarted) is is_ready


def test_a_dedicated_pod_that_starts_is_not_done_with_what_fails():
    """Else the pods of a bad version would take the place of those that serve."""
    failed = memory.History(reachable=True, failures={("a", 2): FAILURE})
    two = dataclasses.replace(LABELLED, model=dataclasses.replace(LABELLED.model, version_policy=Specific((1, 2))))
    assert readiness.is_fed([two], seen(a={1: "LOADING", 2: FAILED}), failed, 9.0)
    assert not readiness.is_fed([two], seen(a={1: "LOADING", 2: FAILED}), failed, 9.0, Readiness.EVERY_MODEL)


def test_a_label_whose_version_is_gone_keeps_nobody_out():
    alone = dataclasses.replace(LABELLED, findings={1: LABELLED.findings[1]})
    history = memory.History(pushed={"a": memory.Served(frozenset({1}), {"stable": 1})}, reachable=True)
    assert readiness.is_ready(Readiness.EVERY_MODEL, [alone], seen(a={1: "AVAILABLE"}), history)


def test_a_label_whose_version_is_being_written_keeps_a_pod_out_that_starts():
    written = {**LABELLED.findings, 2: Finding(Verdict.INCOMPLETE, "variables/variables.index is missing")}
    fresh = memory.History(pushed={"a": memory.Served(frozenset({1}), {"stable": 1})}, reachable=True)
    models, server = [dataclasses.replace(LABELLED, findings=written)], seen(a={1: "AVAILABLE"})
    assert not readiness.is_ready(Readiness.EVERY_MODEL, models, server, fresh)
    assert readiness.is_ready(Readiness.EVERY_MODEL, models, server, dataclasses.replace(fresh, is_fed=True))


@pytest.mark.parametrize(
    ("given", "is_ready"),
    [
        pytest.param({}, False, id="it is to be loaded again"),
        pytest.param({"crashes": {("a", 1): CRASH}}, False, id="the server has died while it was loading"),
        pytest.param({"crashes": {("a", 1): dataclasses.replace(CRASH, alone=9)}}, True, id="the server dies of it again and again"),
        pytest.param({"failures": {("a", 1): FAILURE}}, True, id="it fails to load"),
        pytest.param({"proven": {("a", 1): crashes.mark("other files")}}, True, id="its files are others now"),
    ],
)
def test_a_version_on_its_way_in_gets_no_requests_because_the_one_that_served_is_late(given, is_ready):
    both = wanted("a", Specific((1, 2)), verified=[1, 2])
    proven = {("a", 1): crashes.mark("files")}
    history = memory.History(**{"reachable": True, "was_fed": True, "served": frozenset({("a", 1)}), "proven": proven, **given})
    for models, server in (([both], seen(a={2: "AVAILABLE"})), ([wanted("a", Specific((2,)), verified=[1, 2])], seen(a={2: "AVAILABLE"}))):
        is_named = 1 in models[0].model.version_policy.versions
        assert readiness.is_ready(Readiness.EVERY_MODEL, models, server, history) is (is_ready or not is_named)
        assert readiness.is_fed(models, server, history, 9.0, Readiness.EVERY_MODEL) is (is_ready or not is_named)


def test_a_pod_that_starts_with_what_the_config_does_not_name_any_more_is_not_ready():
    """It may have been taken back. A pod that serves is ready, whatever the config has come to name since."""
    other, fresh = [wanted("a", Specific((2,)), verified=[1, 2])], memory.History(reachable=True, was_fed=True)
    assert not readiness.is_ready(Readiness.EVERY_MODEL, other, seen(a={1: "AVAILABLE"}), fresh)
    assert readiness.is_ready(Readiness.EVERY_MODEL, other, seen(a={1: "AVAILABLE"}), dataclasses.replace(fresh, is_fed=True))


BACK = {"served": frozenset({("a", 1)}), "proven": {("a", 1): crashes.mark("files")}}


@pytest.mark.parametrize(
    ("models", "server", "given", "says"),
    [
        pytest.param([wanted("a", verified=[1])], seen(a={1: "LOADING"}), {}, "a: no version is AVAILABLE", id="it loads"),
        pytest.param(
            [wanted("a", Specific((2,)), verified=[1, 2])], seen(a={1: "AVAILABLE"}), {},
            "a: the config doesn't name version 1, and no other one is AVAILABLE", id="what it has is not asked for",
        ),
        pytest.param([LABELLED], seen(a={1: "AVAILABLE"}), {}, "a: label next waits for version 2", id="a label"),
        pytest.param(
            [wanted("a", Specific((1, 2)), verified=[1, 2])], seen(a={2: "AVAILABLE"}), BACK,
            "a: version 1 served before, and is not back yet", id="what served before",
        ),
        pytest.param([wanted("a--candidate", verified=[2])], seen(), {}, "", id="a candidate is not waited for"),
    ],
)  # fmt: skip
def test_a_pod_that_starts_says_what_it_waits_for(models, server, given, says):
    assert readiness.waits_for(models, server, memory.History(reachable=True, **given)) == says


def test_where_no_label_says_what_clients_are_to_get_all_that_served_before_is_waited_for():
    both = wanted("a", Specific((1, 2)), verified=[1, 2])
    labelled = dataclasses.replace(both, model=dataclasses.replace(both.model, version_labels={"stable": 2}))
    served, proven = frozenset({("a", 1), ("a", 2)}), dict.fromkeys([("a", 1), ("a", 2)], crashes.mark("files"))
    pushed = {"a": memory.Served(frozenset({1, 2}), {"stable": 2})}
    history = memory.History(pushed=pushed, reachable=True, was_fed=True, served=served, proven=proven)
    assert not readiness.is_ready(Readiness.EVERY_MODEL, [both], seen(a={1: "LOADING", 2: "AVAILABLE"}), history)
    assert readiness.is_ready(Readiness.EVERY_MODEL, [both], seen(a={1: "AVAILABLE", 2: "AVAILABLE"}), history)
    assert readiness.is_ready(Readiness.EVERY_MODEL, [labelled], seen(a={1: "LOADING", 2: "AVAILABLE"}), history)


def test_no_client_is_sent_to_the_private_name_of_a_candidate():
    public, private = wanted("a", verified=[1]), wanted("a--candidate", verified=[2])
    server = seen(**{"a": {1: "AVAILABLE"}, "a--candidate": {2: "LOADING"}})
    history = memory.History(reachable=True)
    assert readiness.is_ready(Readiness.EVERY_MODEL, [public, private], server, history)
    assert readiness.is_fed([public, private], server, history, 0.1)


def test_what_joins_or_crashes_later_never_takes_a_pod_out_for_longer_than_the_server_is_away(tmp_path):
    world = World(tmp_path)
    for name in ("a", "b", "c"):
        world.volume.put(name, 1, name, True)
        world.models[name] = Model(name, f"/models/{name}", Latest(1))
    world.run(10)
    assert world.history.is_fed
    world.volume.put("bad", 1, "bad", True)
    world.volume.deadly.add(("bad", 1))
    world.models["bad"] = Model("bad", "/models/bad", Latest(1))
    for moment in range(600):
        world.run(0.1)
        since = world.now - max(world.died_at, default=0.0)
        assert world.history.is_fed or since < AWAY_SECONDS + 2.0, moment
        if world.history.is_fed and world.history.was_fed:
            assert all(world.server.available(name) for name in ("a", "b", "c")), "ready again means fed again"
    assert world.deaths == 1


def test_an_agent_that_is_restarted_knows_that_the_pod_was_ready(tmp_path):
    world = World(tmp_path)
    world.volume.put("a", 1, "a", True)
    world.models["a"] = Model("a", "/models/a", Latest(1))
    world.run(10)
    world.models["b"] = Model("b", "/models/b", Latest(1))
    world.restart_agent()
    world.run(0.3)
    assert world.history.is_fed
