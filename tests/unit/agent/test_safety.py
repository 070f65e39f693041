"""Whatever happens to files, config, server and agent: what serves goes on serving, and what can be reached is reached."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.agent.simulation import CANDIDATE, DEADLY, HANGING, World, base
from tfmodel_agent import crashes, failures
from tfmodel_agent import history as memory
from tfmodel_serving.model_config import All, Latest, Model, Specific

PATHS, VERSIONS = st.sampled_from(["a", "b"]), st.integers(1, 4)
NAMES = st.sampled_from(["a", "b", f"a{CANDIDATE}"])
"""Entries of the config; the candidate's has the base path of its model."""
POLICIES = st.one_of(
    st.builds(Latest, st.integers(1, 2)),
    st.just(All()),
    st.builds(lambda versions: Specific(tuple(sorted(versions))), st.sets(VERSIONS, min_size=1, max_size=3)),
)
CHANGES = st.one_of(
    st.tuples(st.just("put"), PATHS, VERSIONS, st.booleans()),
    st.tuples(st.just("touch"), PATHS, VERSIONS, st.sampled_from([0.5, 3.0])),
    st.tuples(st.just("remove"), PATHS, VERSIONS),
    st.tuples(st.just("policy"), NAMES, POLICIES),
    st.tuples(st.just("leave"), NAMES),
    st.tuples(st.just("restart agent")),
)
DISASTERS = st.one_of(st.tuples(st.just("restart server"), st.sampled_from([0.3, 2.0])), st.tuples(st.just("rogue reload"), st.sets(VERSIONS)))
UNLOAD_SECONDS = 5.0
PAUSES = st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.6, 4.0, 15.0])


def apply(world, change, number):
    match change:
        case ("put", name, version, sound):
            world.volume.put(name, version, f"content {number}", sound)
        case ("touch", name, version, seconds):
            world.volume.touch(name, version, world.now + seconds)
        case ("remove", name, version):
            world.volume.remove(name, version)
        case ("policy", name, policy):
            world.models[name] = Model(name, f"/models/{base(name)}", policy)
        case ("leave", name):
            world.models.pop(name, None)
            world.left[name] = world.now
        case ("restart agent",):
            world.restart_agent()
        case ("restart server", away):
            world.restart_server(away)
        case ("rogue reload", versions):
            world.rogue_reload(versions)


def play(changes, check=None):
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        for number, (change, pause) in enumerate(changes):
            apply(world, change, number)
            world.run(pause, lambda: check(world) if check else None)
        yield world


def reached(world):
    """What should be served once everything that can fail has failed; what was loaded before its files went bad, stays."""
    for one in world.wanted():
        name = one.model.name
        loaded = {v for v in world.server.available(name) if (name, v) in world.history.added}
        sound = {v for v, (_, ok) in world.volume.of(name).items() if ok is True or v in loaded}
        match one.model.version_policy:
            case Latest(count):
                target = set(sorted(sound)[-count:])
            case All():
                target = sound
            case Specific(versions):
                target = (sound | loaded) & set(versions)
        yield name, target


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(CHANGES, PAUSES), max_size=14))
def test_a_model_that_serves_goes_on_serving(changes):
    serving: set[str] = set()

    def check(world):
        for name in list(serving):
            if name not in world.models:
                serving.discard(name)
                continue
            assert world.server.available(name), (name, world.trace)
        # A model that was taken out and put in again within seconds may still be on its way out.
        staying = [name for name in world.models if world.now - world.left.get(name, 0.0) > UNLOAD_SECONDS]
        serving.update(name for name in staying if world.server.available(name))

    for world in play(changes, check):
        world.run(5, functools.partial(check, world))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.one_of(CHANGES, DISASTERS), PAUSES), max_size=12))
@example([(("policy", f"a{CANDIDATE}", All()), 0.0), (("put", "a", 1, True), 0.1), (("restart server", 0.3), 0.0), (("policy", "a", All()), 0.0)])
def test_what_can_be_reached_is_reached_in_bounded_time(changes):
    for world in play(changes):
        # The longest way: a wrong version is tried with back-off after 10, 30, 120 and 600 s, and then left alone.
        world.run(30)
        if world.history.crashes:  # what was loading alone when the server was killed waits, once there is something to protect
            world.run(crashes.PROTECTING_SECONDS[0])
        for name, target in reached(world):
            if not target:
                continue  # whatever served before goes on, or nothing can
            assert target == world.server.available(name), (name, target, world.step, world.trace)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([("touch", "a", 2, 0.5), ("restart agent",)]), PAUSES), max_size=4), PAUSES)
def test_a_candidate_is_handed_over_in_one_push_and_never_loaded_twice(interruptions, pause):
    """Its own name goes and the model grows: the model goes on serving, and memory never has to hold both copies."""
    candidate = f"a{CANDIDATE}"

    def check(world):
        assert 1 in world.server.available("a")
        assert not (world.server.available(candidate) and 2 in world.server.available("a"))

    for world in play([(("put", "a", 1, True), 0.0), (("put", "a", 2, True), 0.0), (("policy", "a", Specific((1,))), 10.0)]):
        apply(world, ("policy", candidate, Specific((2,))), 0)
        world.run(10, functools.partial(check, world))
        assert (world.server.available("a"), world.server.available(candidate)) == ({1}, {2})
        sent = len(world.trace)
        apply(world, ("leave", candidate), 0)
        apply(world, ("policy", "a", Specific((1, 2))), 0)
        world.run(pause, functools.partial(check, world))
        for change, then in interruptions:
            apply(world, change, 0)
            world.run(then, functools.partial(check, world))
        world.run(10, functools.partial(check, world))
        assert (world.server.available("a"), world.server.available(candidate)) == ({1, 2}, set())
        assert interruptions or len(world.trace) == sent + 1, world.trace


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(POLICIES, st.lists(st.tuples(VERSIONS, st.sampled_from([0.5, 3.0]), st.booleans(), PAUSES), max_size=8))
def test_writing_to_files_of_what_serves_changes_nothing(policy, touches):
    """With an agent that is restarted as well: nothing but what it has found serving is ever sent."""
    for world in play([(("put", "a", version, True), 0.0) for version in range(1, 5)]):
        apply(world, ("policy", "a", policy), 0)
        world.run(10)
        serving = world.server.available("a")
        assert serving == dict(reached(world))["a"]
        for version, seconds, with_restart, pause in touches:
            apply(world, ("touch", "a", version if version in serving else max(serving), seconds), 0)
            if with_restart:
                world.restart_agent()
            world.run(pause)
            assert world.history.pushed is None or world.history.pushed["a"].versions == serving, world.trace


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(CHANGES, PAUSES), max_size=8))
def test_once_nothing_changes_nothing_is_sent(changes):
    for world in play(changes):
        sound = {name: {v: c for v, c in versions.items() if c[1] is True} for name, versions in world.volume.versions.items()}
        world.volume.versions.clear()
        world.volume.versions.update(sound)  # nothing fails from here on: back-off would send, rightly
        world.run(60)
        sent = len(world.trace)
        world.run(30)
        assert world.step.settled, (world.step, world.trace)
        assert len(world.trace) == sent


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.tuples(PATHS, VERSIONS), st.sampled_from([True, False, DEADLY, HANGING]), min_size=1, max_size=6),
    st.dictionaries(PATHS, POLICIES, min_size=1),
    st.lists(st.tuples(CHANGES, PAUSES), max_size=3),
)
def test_no_version_breaks_a_server_for_the_others(monkeypatch, versions, policies, changes):
    """Versions that kill the server or load for ever are found out, left out, and what is good serves undisturbed."""
    monkeypatch.setattr(failures, "RETRY_SECONDS", (3.0, 4.0, 5.0, 6.0))
    monkeypatch.setattr(crashes, "PROTECTING_SECONDS", (6.0, 9.0))
    monkeypatch.setattr(crashes, "LONELY_SECONDS", (3.0, 1000.0))
    monkeypatch.setattr(memory, "LOAD_SECONDS", 5.0)
    placed = [(("put", path, version, sound), 0.0) for (path, version), sound in versions.items()]
    chosen = [(("policy", path, policy), 0.0) for path, policy in policies.items()]
    for world in play([*placed, *chosen, *changes]):
        world.run(150)
        deaths, sent = world.deaths, len(world.trace)
        for name, target in reached(world):
            assert target <= world.server.available(name), (name, target, world.step, world.trace)
        world.run(30)
        assert (world.deaths, len(world.trace)) == (deaths, sent), "nothing that harms is tried for ever"
        harmful = sum(sound in (DEADLY, HANGING) for sound in versions.values())
        assert deaths <= 12 * harmful  # each by the model and its candidate


def test_a_suspect_server_is_left_alone_until_it_is_restarted(tmp_path):
    world = World(tmp_path, has_kubelet=False)
    apply(world, ("put", "a", 1, True), 0)
    apply(world, ("policy", "a", Latest(1)), 1)
    world.run(5)
    assert world.server.available("a") == {1}
    world.history = world.history.__class__(
        pushed=world.history.pushed, reachable=True, suspect="hung", alive=world.history.alive
    )
    apply(world, ("put", "a", 2, True), 2)
    world.run(10)
    assert world.server.available("a") == {1}
    assert world.step.suspect == "hung"
    world.restart_server(1.0)
    world.run(10)
    assert world.server.available("a") == {2}


@pytest.mark.parametrize("seconds", [memory.LOAD_SECONDS + 5])
def test_a_load_that_hangs_makes_the_server_suspect(tmp_path, seconds, monkeypatch):
    monkeypatch.setattr("tests.unit.agent.simulation.LOAD_SECONDS", 10 * seconds)
    world = World(tmp_path, has_kubelet=False)
    apply(world, ("put", "a", 1, True), 0)
    apply(world, ("policy", "a", Latest(1)), 1)
    world.run(seconds)
    assert world.step.suspect
