"""A version that takes the model server down costs the others a restart, and never their service."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.agent.simulation import AWAY_SECONDS, World
from tfmodel_agent import crashes, journal, looks, steps, trials
from tfmodel_agent import history as memory
from tfmodel_serving.agent_config import Readiness
from tfmodel_serving.model_config import Latest, Model, Specific
from tfmodel_serving.saved_model import Finding, Verdict

REFED_SECONDS = AWAY_SECONDS + 4.0
"""After a death: the server comes back, and gets what had served in one reload."""


@pytest.fixture
def world(tmp_path):
    """Three models that serve."""
    world = World(tmp_path)
    for name in ("a", "b", "c"):
        join(world, name)
    world.run(20)
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}}
    world.trace.clear()
    return world


def join(world, name, *, version=1, policy=None, crashes=False):
    world.volume.put(name, version, f"{name} {version}", True)
    if crashes:
        world.volume.deadly.add((name, version))
    world.models[name] = Model(name, f"/models/{name}", policy or Latest(1))


def available(world):
    return {name: world.server.available(name) for name in world.models} if world.server else {}


def run_until(world, condition):
    for _ in range(300):
        world.run(0.1)
        if condition():
            return
    raise AssertionError(world.trace)


def message(world, name, version=1):
    return trials.describe((name, version), world.history)


def test_a_crasher_that_joins_is_recognised_and_the_others_are_fed_again_at_once(world):
    join(world, "bad", crashes=True)
    world.run(REFED_SECONDS)
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}, "bad": set()}
    assert message(world, "bad") == "the model server died while version 1 was loading (1 time); it is tried again after 11 min"
    assert [line.partition(" ")[2] for line in world.trace] == [
        "bad: - -> {1}",
        "a: - -> {1}; b: - -> {1}; c: - -> {1}",
    ]
    assert world.step.settled


def test_its_tries_are_few_and_far_between_and_end(world):
    join(world, "bad", crashes=True)
    world.run(20)
    for seconds in (630, 60, 3500, 200, 20_000, 100_000):
        world.skip(seconds)
        world.run(20)
    first, second, third = world.died_at
    assert 660 <= second - first < 900
    assert 3600 <= third - second < 4000
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}, "bad": set()}
    assert message(world, "bad") == "the model server died while version 1 was loading (3 times); it stays out until its files change"
    world.volume.deadly.clear()
    world.volume.put("bad", 1, "repaired", True)
    world.run(10)
    assert available(world)["bad"] == {1}
    assert message(world, "bad") == ""


def test_while_it_is_out_models_join_and_leave_and_versions_change_as_ever(world):
    join(world, "bad", crashes=True)
    world.run(REFED_SECONDS)
    world.volume.put("a", 2, "a 2", True)
    join(world, "d")
    del world.models["c"]
    world.run(10)
    assert available(world) == {"a": {2}, "b": {1}, "bad": set(), "d": {1}}
    assert world.deaths == 1


def test_a_new_version_that_crashes_leaves_the_old_one_serving(world):
    join(world, "a", version=2, crashes=True)
    world.run(REFED_SECONDS)
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}}
    assert message(world, "a", 2).startswith("the model server died while version 2 was loading (1 time)")
    world.run(100)
    assert world.deaths == 1


def test_a_pinned_version_that_crashes_leaves_the_one_beside_it_serving(world):
    join(world, "a", version=2, policy=Specific((1, 2)), crashes=True)
    world.run(REFED_SECONDS)
    assert available(world)["a"] == {1}
    world.models["a"] = Model("a", "/models/a", Specific((2,)))  # whatever is asked for: what served stays
    world.run(30)
    assert available(world)["a"] == {1}
    world.restart_server(AWAY_SECONDS)
    world.run(REFED_SECONDS)
    assert available(world)["a"] == {1}


def test_of_several_that_were_loading_the_crasher_is_found_by_loading_each_alone(world):
    for name in ("a", "b", "c"):
        join(world, name, version=2, crashes=name == "a")
    run_until(world, lambda: world.deaths and available(world) == {"a": {1}, "b": {1}, "c": {1}})
    assert world.trace[-1].endswith("a: - -> {1}; b: - -> {1}; c: - -> {1}"), "what had served comes first"
    assert message(world, "b", 2) == "the model server died while version 2 and 2 more were loading; it is loaded alone next"
    world.run(30)
    assert available(world) == {"a": {1}, "b": {2}, "c": {2}}
    assert world.deaths == 2
    assert message(world, "b", 2) == ""
    assert "2 was loading (1 time)" in message(world, "a", 2)


def test_nothing_else_is_begun_while_one_is_loaded_alone(world):
    """Or it would be accused as well."""
    join(world, "a", version=2, crashes=True)
    world.run(REFED_SECONDS)
    world.volume.deadly.clear()
    world.skip(655)
    run_until(world, lambda: ("a", 2) in world.history.loading)
    join(world, "d")
    sent = len(world.trace)
    while ("a", 2) in world.history.loading:
        assert len(world.trace) == sent
        world.run(0.1)
    world.run(5)
    assert available(world) == {"a": {2}, "b": {1}, "c": {1}, "d": {1}}


def test_if_the_server_dies_of_what_had_served_before_that_is_found_too(world):
    """Its files are the same; it is the machine that has changed: less memory, another driver."""
    world.volume.deadly.add(("b", 1))
    world.restart_server(AWAY_SECONDS)
    world.run(30)
    assert available(world) == {"a": {1}, "b": set(), "c": {1}}
    assert world.deaths == 2, "once for all at once, once for the one"


def test_a_server_killed_by_something_else_while_it_loads_costs_the_version_a_wait_and_no_more(world):
    join(world, "d")
    world.run(0.5)
    assert world.history.loading
    world.restart_server(AWAY_SECONDS)
    world.run(REFED_SECONDS)
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}, "d": set()}
    world.skip(660)
    world.run(20)
    assert available(world)["d"] == {1}
    assert message(world, "d") == ""


def dedicated(tmp_path):
    """One model, of which clients get version 1, and 2 is on its way in; its server has just ended."""
    world = World(tmp_path, mode=Readiness.EVERY_MODEL)
    join(world, "a", policy=Specific((1,)))
    world.run(10)
    assert world.is_ready
    world.volume.put("a", 2, "a 2", True)
    world.models["a"] = Model("a", "/models/a", Specific((1, 2)), {"stable": 1})
    world.restart_server(AWAY_SECONDS)
    return world


def kill_while_it_loads(world, key):
    run_until(world, lambda: key in world.history.loading)
    world.restart_server(AWAY_SECONDS)


@pytest.mark.parametrize("labels", [{"stable": 1}, {}], ids=["labelled", "without labels"])
def test_what_clients_had_is_back_soon_and_first_however_often_the_server_was_killed_while_it_loaded(tmp_path, labels):
    world = dedicated(tmp_path)
    world.models["a"] = dataclasses.replace(world.models["a"], version_labels=labels)
    for _ in range(3):
        kill_while_it_loads(world, ("a", 1))
    assert world.history.crashes["a", 1].alone == 3
    killed_at = world.now
    while not world.is_ready:
        world.run(0.1)
        assert world.now - killed_at < sum(crashes.SERVED_SECONDS[:3])
    assert 1 in world.server.available("a"), "no client may get version 2 alone"
    assert next(line for line in reversed(world.trace) if "alone" in line).partition(" ")[2].startswith(("a: - -> {1}", "a: {2} -> {1, 2}"))
    world.run(10)
    assert available(world) == {"a": {1, 2}}


def test_an_agent_that_is_restarted_meanwhile_waits_for_it_as_well(tmp_path):
    world = dedicated(tmp_path)
    for _ in range(2):
        kill_while_it_loads(world, ("a", 1))
        world.restart_agent()
    for _ in range(300):
        world.run(0.1)
        assert not world.is_ready or 1 in world.server.available("a")
    assert world.is_ready
    assert available(world) == {"a": {1, 2}}


def test_a_server_that_dies_of_what_clients_had_tries_it_less_and_less_often_and_for_ever(tmp_path):
    """The machine has changed: it can't be had any more, and nobody but its own clients would be spared."""
    world = dedicated(tmp_path)
    world.models["a"] = Model("a", "/models/a", Specific((1,)), {"stable": 1})
    world.run(10)
    world.volume.deadly.add(("a", 1))
    world.restart_server(AWAY_SECONDS)
    world.run(600)
    assert 5 <= world.deaths <= 8
    world.volume.deadly.clear()
    world.run(crashes.SERVED_SECONDS[-1] + 20)
    assert world.is_ready


def test_where_clients_are_served_without_it_what_served_before_is_tried_soon_once_and_then_protects_them(world):
    world.volume.deadly.add(("b", 1))
    world.restart_server(AWAY_SECONDS)
    for seconds in (100, 600, 400, 3700, 20_000, 100_000):
        world.run(20)
        world.skip(seconds)
    world.run(20)
    assert world.deaths == 5, "with all, alone at once, after a minute, 11 min and an hour"
    assert available(world) == {"a": {1}, "b": set(), "c": {1}}


def test_a_server_killed_while_nothing_loads_accuses_nobody(world):
    for _ in range(5):
        world.restart_server(AWAY_SECONDS)
        world.run(REFED_SECONDS)
        assert available(world) == {"a": {1}, "b": {1}, "c": {1}}
    assert not world.history.crashes


def test_where_nothing_else_serves_it_is_tried_for_ever(tmp_path):
    world = World(tmp_path)
    join(world, "bad", crashes=True)
    for _ in range(8):
        world.run(20)
        world.skip(600)
    assert world.deaths >= 8
    world.volume.deadly.clear()
    world.run(20)
    assert available(world) == {"bad": {1}}


def test_on_a_new_pod_the_others_are_served_though_the_crasher_comes_first(tmp_path):
    world = World(tmp_path)
    for name in ("a", "b", "c", "d"):
        join(world, name, crashes=name == "a")
    world.run(60)
    assert available(world) == {"a": set(), "b": {1}, "c": {1}, "d": {1}}
    assert world.deaths <= 2


@pytest.mark.parametrize("after", [0.3, 1.6, 2.5], ids="the agent dies {} s later".format)
def test_the_verdict_survives_the_agent(world, after):
    join(world, "bad", crashes=True)
    world.run(after)
    world.restart_agent()
    world.run(2 * REFED_SECONDS)
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}, "bad": set()}
    world.restart_agent()
    world.run(100)
    assert world.deaths == 1
    assert "(1 time)" in message(world, "bad")


def test_both_killed_in_the_middle_of_a_load(world):
    join(world, "a", version=2, crashes=True)
    run_until(world, lambda: world.deaths)
    world.restart_agent()
    world.run(2 * REFED_SECONDS)
    assert available(world) == {"a": {1}, "b": {1}, "c": {1}}
    assert world.deaths == 1


def test_a_crasher_that_is_asked_for_anew_is_loaded_alone_at_once_and_once(world):
    join(world, "bad", crashes=True)
    run_until(world, lambda: world.deaths and world.step.settled)
    world.history = memory.asked_anew(world.history, [("bad", 1)])
    assert message(world, "bad") == "the model server died while version 1 was loading; it is loaded alone next"
    run_until(world, lambda: world.deaths == 2 and world.step.settled)
    assert message(world, "bad") == "the model server died while version 1 was loading (1 time); it is tried again after 11 min"
    world.run(60)
    assert world.deaths == 2


def test_a_hang_the_server_was_restarted_for_counts_like_a_death():
    history = memory.History(pushed={}, reachable=True, serving=frozenset({("a", 1)}))
    history = memory.sent(history, {"a": memory.Served(frozenset({1, 2}))}, 0.0)
    found = {"a": {1: memory.ServerVersion("AVAILABLE"), 2: memory.ServerVersion("LOADING")}}
    history = looks.fold(memory.answered(history, 0.0), memory.Seen(found), {}, 1.0)
    history = memory.sent(history, {"a": history.pushed["a"], "b": memory.Served(frozenset({1}))}, memory.LOAD_SECONDS)
    step = steps.next_step([], memory.Seen(found), history, memory.LOAD_SECONDS + 5)
    assert step.suspect == "a: version 2 has been LOADING for 600 s"
    history = looks.fold(memory.suspected(history, step.suspect), memory.Seen(message="gone"), {}, memory.LOAD_SECONDS + 6)
    history = looks.fold(history, memory.Seen(), {}, memory.LOAD_SECONDS + 8)
    assert set(history.crashes) == {("a", 2)}, "not those that were only in its company"
    assert trials.describe(("a", 2), history) == (
        "the model server had to be restarted while version 2 was loading (1 time); it is tried again after 60 min"
    )


def test_a_version_that_fails_in_an_orderly_way_is_no_crasher_any_more(world):
    join(world, "bad", crashes=True)
    world.run(REFED_SECONDS)
    world.volume.deadly.clear()
    world.volume.versions["bad"][1] = ("bad 1", False)
    world.skip(660)
    world.run(20)
    assert world.deaths == 1
    assert message(world, "bad") == ""
    assert ("bad", 1) in world.history.failures


def test_the_journal_says_what_the_next_agent_must_know():
    history = memory.History(
        pushed={"a": memory.Served(frozenset({1, 2}))},
        in_flight_since=5.0,
        loading={("a", 2): memory.Loading("m2", 5.0)},
        proven={("a", 1): "m1"},
        serving=frozenset({("a", 1)}),
        served=frozenset({("b", 1)}),
        labels={"a": {"stable": 1}},
        crashes={("c", 1): crashes.Crash("m3", 4.0, 2, 0, True)},
        is_fed=True,
        was_fed=True,
    )
    found = journal.from_json(journal.to_json(history), 100.0)
    for field in ("loading", "proven", "serving", "served", "labels", "crashes", "is_fed", "was_fed"):
        assert getattr(found, field) == getattr(history, field), field
    assert (found.pushed, found.orphaned, found.in_flight_since) == (None, {"a"}, 100.0)
    rebooted = journal.from_json(journal.to_json(history), 1.0)
    assert rebooted.crashes["c", 1].at == 1.0, "a machine's clock that begins anew postpones nothing"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"loading": 1}', '{"in_flight": [], "loading": {"a": {}}}', "null"])
def test_a_spoiled_journal_is_begun_anew(tmp_path, text):
    (tmp_path / "journal").write_text(text)
    assert journal.Journal(tmp_path / "journal").read(7.0) == memory.History(began_at=7.0)


def test_the_journal_is_written_when_there_is_something_new(tmp_path):
    book = journal.Journal(tmp_path / "journal")
    book.write(memory.History())
    written = (tmp_path / "journal").stat().st_ino
    book.write(memory.History(reachable=True, pushed_at=3.0))
    assert (tmp_path / "journal").stat().st_ino == written
    book.write(memory.History(is_fed=True))
    assert book.read(0.0).is_fed


def test_without_room_for_a_journal_the_agent_goes_on(tmp_path):
    journal.Journal(tmp_path / "nowhere/journal").write(memory.History(is_fed=True))


# -- whatever happens ------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "d"])
CHANGES = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(1, 3), st.sampled_from(["good", "good", "bad", "crasher"])),
    st.tuples(st.just("join"), NAMES),
    st.tuples(st.just("leave"), NAMES),
    st.tuples(st.just("restart agent")),
    st.tuples(st.just("kill server")),
)
PAUSES = st.sampled_from([0.0, 0.1, 0.4, 1.1, 3.0, 12.0])


def change(world, what, number):
    match what:
        case ("put", name, version, kind):
            if version in world.volume.versions.get(name, {}):
                return  # versions are written once
            world.volume.put(name, version, f"content {number}", kind != "bad")
            if kind == "crasher":
                world.volume.deadly.add((name, version))
        case ("join", name):
            world.models.setdefault(name, Model(name, f"/models/{name}", Latest(1)))
        case ("leave", name):
            world.models.pop(name, None)
        case ("restart agent",):
            world.restart_agent()
        case ("kill server",):
            world.restart_server(AWAY_SECONDS)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(CHANGES, PAUSES), max_size=12))
def test_every_sound_model_serves_in_the_end_and_deaths_are_few(changes):
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        for number, (what, pause) in enumerate(changes):
            change(world, what, number)
            world.run(pause)
        # A version that was loading while a server was killed is tried again when its wait is over.
        world.run(60)
        world.skip(crashes.PROTECTING_SECONDS[0])
        world.run(60)
        for name in world.models:
            versions = world.volume.versions.get(name, {})
            sound = [v for v, (_, is_sound) in versions.items() if is_sound and (name, v) not in world.volume.deadly]
            if sound:
                assert max(sound) in world.server.available(name), (name, world.step, world.trace, world.history.crashes)
        serves = any(world.server and world.server.available(name) for name in world.models)
        for _ in range(4):
            world.skip(crashes.PROTECTING_SECONDS[-1])
            world.run(60)
        if serves:
            settled = world.deaths
            world.skip(100_000)
            world.run(60)
            assert world.deaths == settled, "whatever crashes is out by now"
            assert settled <= 4 * len(world.volume.deadly), world.trace


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 9), st.data())
def test_however_many_crash_the_others_serve_soon(count, data):
    names = [f"m{number}" for number in range(count)]
    bad = data.draw(st.sets(st.sampled_from(names), max_size=2))
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        for name in names:
            join(world, name)
        world.run(3.0 * count + 5)
        for name in names:
            join(world, name, version=2, crashes=name in bad)
        world.run(20 + 15 * len(bad) + 3.0 * count)
        assert available(world) == {name: {1 if name in bad else 2} for name in names}, world.trace
        assert world.deaths <= 2 * len(bad)


def test_equal_facts_give_equal_steps():
    crash = crashes.Crash(crashes.mark("files"), 1.0)
    wanted = [steps.Wanted(Model(n, f"/{n}"), {1: Finding(Verdict.VERIFIED)}, {1: "files"}) for n in ("a", "b")]
    history = memory.History(pushed={}, reachable=True, crashes={("a", 1): crash, ("b", 1): crash})
    step = steps.next_step(wanted, memory.Seen(), history, 5.0)
    assert step == steps.next_step(list(reversed(wanted)), memory.Seen(), dataclasses.replace(history), 5.0)
    assert set(step.push) == {"a"}
