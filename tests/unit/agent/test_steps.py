"""Traces of the agent's steps, as a person would follow them."""

from __future__ import annotations

import dataclasses

import pytest

from tfmodel_agent import crashes, journal, looks, steps
from tfmodel_agent import history as memory
from tfmodel_agent.history import ServerVersion
from tfmodel_serving import model_config
from tfmodel_serving.model_config import All, Latest, Specific
from tfmodel_serving.problems import Reason
from tfmodel_serving.saved_model import Finding, Verdict

FAILED = ServerVersion("END", 5, "no SavedModel")


def wanted(name="half", policy=None, verified=(), labels=None, marks=None, incomplete=()):
    found = {version: Finding(Verdict.VERIFIED) for version in verified}
    written = Finding(Verdict.INCOMPLETE, "files are still being written", Reason.INCOMPLETE)
    found |= dict.fromkeys(incomplete, written)
    model = model_config.Model(name, f"/models/{name}", policy or Latest(1), labels or {})
    return steps.Wanted(model, found, marks or dict.fromkeys(verified, "files"))


def seen(**models):
    """half={1: "AVAILABLE"} and so on."""
    return memory.Seen(
        {
            name: {v: s if isinstance(s, ServerVersion) else ServerVersion(s) for v, s in versions.items()}
            for name, versions in models.items()
        }
    )


class Trace:
    """Carries the history from step to step; a push is answered at once."""

    def __init__(self, history=None):
        self.history = history or memory.History(pushed={}, reachable=True)
        self.now = 1000.0

    def step(self, what, looked=None, after=0.0):
        self.now += after
        models = [what] if isinstance(what, steps.Wanted) else what
        looked = looked or memory.Seen()
        marks = {(one.model.name, v): mark for one in models for v, mark in one.fingerprints.items()}
        self.history = looks.fold(self.history, looked, marks, self.now)
        step = steps.next_step(models, looked, self.history, self.now)
        if step.push is not None:
            self.history = memory.answered(memory.sent(self.history, step.push, self.now, marks), self.now)
        return "push " + step.reason if step.push is not None else step.reason


def test_the_first_version_is_added_and_then_serves():
    trace, half = Trace(), wanted(verified=[1])
    assert trace.step(half) == "push half: - -> {1}"
    assert trace.step(half, seen(half={1: "LOADING"}), after=1) == "half: version 1 is LOADING"
    assert trace.step(half, seen(half={1: "AVAILABLE"}), after=1) == "serving what is wanted"


def test_a_new_version_is_loaded_beside_the_old_one_which_goes_when_the_new_one_serves():
    trace = Trace()
    trace.step(wanted(verified=[1]))
    both = wanted(verified=[1, 2])
    assert trace.step(both, seen(half={1: "AVAILABLE"}), after=5) == "push half: {1} -> {1, 2}"
    assert trace.step(both, seen(half={1: "AVAILABLE", 2: "LOADING"}), after=5) == "half: version 2 is LOADING"
    assert trace.step(both, seen(half={1: "AVAILABLE", 2: "AVAILABLE"})) == "push half: {1, 2} -> {2}"
    assert trace.step(both, seen(half={1: "UNLOADING", 2: "AVAILABLE"})) == "half: version 1 is on its way out"
    assert trace.step(both, seen(half={1: "END", 2: "AVAILABLE"})) == "serving what is wanted"


def test_a_version_that_fails_is_taken_out_and_tried_again_with_backoff():
    trace = Trace()
    trace.step(wanted(verified=[1]))
    both = wanted(verified=[1, 2])
    trace.step(both, seen(half={1: "AVAILABLE"}), after=5)
    failed = seen(half={1: "AVAILABLE", 2: FAILED})
    assert trace.step(both, failed, after=3) == "push half: {1, 2} -> {1}"
    assert trace.step(both, failed, after=3) == "serving what is wanted"
    assert trace.step(both, failed, after=8) == "push half: {1} -> {1, 2}"
    assert trace.step(both, failed, after=1) == "half: version 2 is END", "the END of the previous life is no verdict"
    assert trace.step(both, failed, after=2) == "push half: {1, 2} -> {1}"
    assert trace.step(both, failed, after=29) == "serving what is wanted"
    assert trace.step(both, failed, after=2) == "push half: {1} -> {1, 2}"


def test_a_failed_version_whose_files_change_is_tried_at_once():
    trace = Trace()
    trace.step(wanted(verified=[1]))
    trace.step(wanted(verified=[1, 2]), seen(half={1: "AVAILABLE"}), after=5)
    failed = seen(half={1: "AVAILABLE", 2: FAILED})
    trace.step(wanted(verified=[1, 2]), failed, after=3)
    repaired = wanted(verified=[1, 2], marks={1: "files", 2: "other files"})
    assert trace.step(repaired, failed, after=3) == "serving what is wanted", "not before the server has let go of it"
    assert trace.step(repaired, failed, after=3) == "push half: {1} -> {1, 2}"


def test_a_failed_version_that_the_config_names_anew_is_tried_once_its_old_life_is_over():
    trace = Trace()
    trace.step(wanted(verified=[1]))
    both = wanted(policy=Specific((1, 2)), verified=[1, 2])
    trace.step(both, seen(half={1: "AVAILABLE"}), after=5)
    failed = seen(half={1: "AVAILABLE", 2: FAILED})
    trace.step(both, failed, after=3)
    trace.step(wanted(policy=Specific((1,)), verified=[1, 2]), failed, after=1)
    trace.history = memory.asked_anew(trace.history, [("half", 2)])
    assert trace.step(both, failed, after=1) == "serving what is wanted", "not before the server has let go of it"
    assert trace.step(both, failed, after=4) == "push half: {1} -> {1, 2}"
    assert trace.history.failures["half", 2].count == 1


def test_a_version_that_has_served_with_its_files_is_tried_for_ever():
    """The machine was short of something: it may not be for ever."""
    trace, half = Trace(), wanted(policy=Specific((1,)), verified=[1])
    trace.step(half)
    trace.step(half, seen(half={1: "AVAILABLE"}), after=5)
    trace.history = memory.History(pushed={}, reachable=True, proven=trace.history.proven)
    pushed = 0
    for _ in range(12):
        pushed += trace.step(half, seen(half={1: FAILED}), after=700).startswith("push half: - -> {1}")
        trace.step(half, seen(half={1: FAILED}), after=5)
    assert pushed == 12
    other = wanted(policy=Specific((1,)), verified=[1], marks={1: "other files"})
    for _ in range(12):
        last = trace.step(other, seen(half={1: FAILED}), after=700)
        trace.step(other, seen(half={1: FAILED}), after=5)
    assert not last.startswith("push"), "with other files it has never served"


def test_a_restarted_server_gets_nothing_that_the_config_has_left_out_meanwhile():
    """It may have been taken back."""
    served, proven = frozenset({("half", 2)}), {("half", 2): crashes.mark("files")}
    history = memory.History(pushed={}, reachable=True, served=served, proven=proven)
    assert Trace(history).step(wanted(policy=Specific((1,)), verified=[1, 2])) == "push half: - -> {1}"
    assert Trace(history).step(wanted(policy=Specific((1, 2)), verified=[1, 2])) == "push half: - -> {2}"
    assert Trace(history).step(wanted(policy=Specific((1,)), verified=[2])) == "push half: - -> {2}", "better than nothing"


def test_a_vanished_volume_unloads_nothing():
    trace = Trace()
    trace.step(wanted(verified=[1]))
    assert trace.step(wanted(verified=[]), seen(half={1: "AVAILABLE"}), after=5) == "serving what is wanted"


@pytest.mark.parametrize("policy", [Latest(1), All(), Specific((2,)), Specific((1, 2))], ids=str)
def test_a_served_version_stays_what_it_is_while_its_files_are_written(policy):
    """Above all, no older version is grown in its place."""
    trace, before = Trace(), wanted(policy=policy, verified=[1, 2])
    serving = {2: "AVAILABLE"} if policy in (Latest(1), Specific((2,))) else {1: "AVAILABLE", 2: "AVAILABLE"}
    trace.step(before)
    assert trace.step(before, seen(half=serving), after=5) == "serving what is wanted"
    written = wanted(policy=policy, verified=[1], incomplete=[2])
    assert trace.step(written, seen(half=serving), after=5) == "serving what is wanted"
    restarted = Trace(memory.History())
    restarted.step(written, seen(half=serving))
    assert restarted.history.pushed["half"].versions == set(serving)


def test_a_served_version_whose_directory_is_gone_makes_room_for_another_one_or_stays():
    trace = Trace()
    trace.step(wanted(verified=[1, 2]))
    trace.step(wanted(verified=[1, 2]), seen(half={2: "AVAILABLE"}), after=5)
    assert trace.step(wanted(verified=[]), seen(half={2: "AVAILABLE"}), after=5) == "serving what is wanted"
    assert trace.step(wanted(verified=[1]), seen(half={2: "AVAILABLE"}), after=5) == "push half: {2} -> {1, 2}"
    named = wanted(policy=Specific((1, 2)), verified=[1])
    assert trace.step(named, seen(half={1: "AVAILABLE", 2: "AVAILABLE"}), after=5) == "serving what is wanted"


def test_a_version_that_somebody_else_loaded_is_not_kept():
    trace, half = Trace(), wanted(verified=[1], incomplete=[2])
    trace.step(half)
    trace.step(half, seen(half={1: "AVAILABLE"}), after=5)
    both = seen(half={1: "AVAILABLE", 2: "AVAILABLE"})
    assert trace.step(half, both, after=5) == "push pushing the whole config: what the model server has is not known (1 models)"
    assert trace.history.pushed["half"].versions == {1}


def test_versions_that_are_not_on_the_volume_never_reach_the_server():
    trace = Trace()
    assert trace.step(wanted(policy=Specific((1, 7)), verified=[1])) == "push half: - -> {1}"
    trace = Trace()
    assert trace.step(wanted(policy=Specific((7,)), verified=[1])) == "serving what is wanted"


def test_a_label_moves_when_its_version_is_available_and_not_before():
    trace = Trace()
    trace.step(wanted(policy=Specific((1,)), verified=[1, 2], labels={"stable": 1}))
    one = wanted(policy=Specific((1,)), verified=[1, 2], labels={"stable": 1})
    assert trace.step(one, seen(half={1: "AVAILABLE"}), after=1) == "push half: {1} -> {1} stable=1"
    two = wanted(policy=Specific((2,)), verified=[1, 2], labels={"stable": 2})
    assert trace.step(two, seen(half={1: "AVAILABLE"}), after=1) == "push half: {1} stable=1 -> {1, 2} stable=1"
    both = seen(half={1: "AVAILABLE", 2: "AVAILABLE"})
    assert trace.step(two, both, after=1) == "push half: {1, 2} stable=1 -> {2} stable=2"


@pytest.mark.parametrize("who", ["agent", "server", "both"])
def test_a_label_that_cannot_move_stays_whoever_is_restarted(who):
    trace = Trace()
    trace.step(wanted(policy=Specific((1,)), verified=[1], labels={"stable": 1}))
    trace.step(wanted(policy=Specific((1,)), verified=[1], labels={"stable": 1}), seen(half={1: "AVAILABLE"}), after=1)
    bad = wanted(policy=Specific((1, 2)), verified=[1], labels={"stable": 2})
    assert trace.step(bad, seen(half={1: "AVAILABLE"}), after=5) == "serving what is wanted"
    if who != "server":
        trace.history = journal.from_json(journal.to_json(trace.history), trace.now)
    if who != "agent":
        trace.step(bad, memory.Seen(message="gone"), after=1)
        trace.step(bad, after=1)
    trace.step(bad, seen(half={1: "AVAILABLE"}), after=1)
    assert trace.history.pushed == {"half": memory.Served(frozenset({1}), {"stable": 1})}


@pytest.mark.parametrize(
    ("state", "is_suspect"),
    [("END", True), ("START", False), ("LOADING", False), ("AVAILABLE", False), ("UNLOADING", False)],
)
def test_a_reload_behind_one_that_never_ends_makes_a_server_suspect_that_has_nothing_to_lose(state, is_suspect):
    """Somebody else's reload with a base path that is missing unloads all, and holds the lock for ever."""
    pushed = {"half": memory.Served(frozenset({1}))}
    history = memory.History(pushed=pushed, in_flight_since=1000.0, reachable=True)
    looked, soon, late = seen(half={1: state}), 1000.0 + steps.STUCK_SECONDS, 1001.0 + steps.STUCK_SECONDS
    assert not steps.next_step([wanted(verified=[1])], looked, history, soon).suspect
    assert bool(steps.next_step([wanted(verified=[1])], looked, history, late).suspect) == is_suspect
    elsewhere = dataclasses.replace(history, pushed={**pushed, "other": memory.Served(frozenset({1}))})
    looked = seen(half={1: state}, other={1: "AVAILABLE"})
    assert not steps.next_step([wanted(verified=[1])], looked, elsewhere, late).suspect, "what serves goes on"


def test_a_version_that_waited_behind_somebody_elses_reload_is_not_to_blame_for_the_restart():
    trace, half = Trace(), wanted(verified=[1])
    trace.step(half)
    trace.history = dataclasses.replace(trace.history, in_flight_since=trace.now)
    gone = seen(half={1: ServerVersion("END")})
    trace.step(half, gone, after=steps.STUCK_SECONDS + 1)
    trace.history = memory.suspected(trace.history, "stuck")
    trace.step(half, memory.Seen(message="gone"), after=1)
    assert trace.step(half, after=1) == "push half: - -> {1}"


def test_names_are_added_one_at_a_time_to_a_server_that_serves_unless_they_have_loaded_before():
    """A new name holds the reload's lock until it has loaded."""
    trace = Trace(memory.History(pushed={}, reachable=True, proven=dict.fromkeys([("c", 1), ("d", 1)], crashes.mark("files"))))
    trace.step(wanted("s", verified=[1]))
    every = [wanted(name, verified=[1]) for name in "sabcd"]
    looked = {"s": {1: "AVAILABLE"}}
    assert trace.step(every, seen(**looked), after=1) == "push c: - -> {1}; d: - -> {1}"
    looked |= {"c": {1: "AVAILABLE"}, "d": {1: "AVAILABLE"}}
    assert trace.step(every, seen(**looked), after=1) == "push a: - -> {1}"
    assert trace.step(every, seen(**looked, a={1: "LOADING"}), after=1) == "push b: - -> {1}"


def test_an_empty_server_is_given_everything_at_once():
    """Whatever hangs or fails among them, the others load."""
    trace = Trace()
    assert trace.step([wanted("a", verified=[1]), wanted("b", verified=[1])]) == "push a: - -> {1}; b: - -> {1}"


def test_after_a_death_what_has_loaded_is_fed_at_once_and_what_may_have_caused_it_one_by_one():
    trace = Trace()
    every = [wanted(name, verified=[1]) for name in "abcd"]
    trace.step(every)
    looked = seen(a={1: "AVAILABLE"}, b={1: "LOADING"}, c={1: "START"}, d={1: "AVAILABLE"})
    assert trace.step(every, looked, after=1) == "b: version 1 is LOADING; c: version 1 is START"
    trace.step(every, memory.Seen(message="UNAVAILABLE"), after=1)
    assert trace.step(every, seen(), after=1) == "push a: - -> {1}; d: - -> {1}"
    serving = {"a": {1: "AVAILABLE"}, "d": {1: "AVAILABLE"}}
    alone = "alone: the server died while it was loading"
    assert trace.step(every, seen(**serving), after=1) == f"push b: - -> {{1}}, {alone}"
    assert trace.step(every, seen(**serving, b={1: "AVAILABLE"}), after=1) == f"push c: - -> {{1}}, {alone}"
    trace.step(every, memory.Seen(message="UNAVAILABLE"), after=1)
    assert trace.step(every, seen(), after=1) == "push a: - -> {1}; b: - -> {1}; d: - -> {1}"
    serving["b"] = {1: "AVAILABLE"}
    assert trace.step(every, seen(**serving), after=1) == "serving what is wanted", "c alone was on its way: it is the cause"
    assert trace.step(every, seen(**serving), after=600) == "serving what is wanted"
    assert trace.step(every, seen(**serving), after=60) == f"push c: - -> {{1}}, {alone}"


def test_a_version_that_kills_the_server_is_left_out_and_the_old_one_is_fed_again():
    trace = Trace()
    trace.step(wanted(verified=[1]))
    both = wanted(verified=[1, 2])
    trace.step(both, seen(half={1: "AVAILABLE"}), after=5)
    trace.step(both, memory.Seen(message="UNAVAILABLE"), after=1)
    assert trace.step(both, seen(), after=1) == "push half: - -> {1}"


def test_a_reload_that_breaks_with_the_server_is_blamed_on_what_it_added():
    """The server dies before it has told of any version."""
    half, now = wanted(verified=[1]), 1000.0
    history = memory.sent(memory.History(pushed={}, reachable=True), {"half": memory.Served(frozenset({1}))}, now)
    broken = memory.broken(history, now + 1)
    away = looks.fold(broken, memory.Seen(message="UNAVAILABLE"), {}, now + 1)
    back = looks.fold(away, seen(), {}, now + 2)
    assert list(back.crashes) == [("half", 1)]
    assert steps.next_step([half], seen(), back, now + 2).settled
    unseen = looks.fold(looks.fold(broken, seen(), {}, now + 1.2), seen(), {}, now + 4)
    assert list(unseen.crashes) == [("half", 1)], "it was back so soon that nobody saw it away"
    working = looks.fold(looks.fold(broken, seen(half={1: "LOADING"}), {}, now + 1.2), seen(half={1: "AVAILABLE"}), {}, now + 4)
    assert not working.crashes, "a server that goes on has not died"
    refused = looks.fold(memory.doubted(history, now + 1), memory.Seen(message="UNAVAILABLE"), {}, now + 1)
    assert not looks.fold(refused, seen(), {}, now + 2).crashes, "what it never began it can't have died of"


def test_what_hangs_is_left_out_when_the_server_is_back():
    trace = Trace()
    every = [wanted("a", verified=[1]), wanted("b", verified=[1])]
    trace.step(every)
    looked = seen(a={1: "AVAILABLE"}, b={1: "LOADING"})
    trace.step(every, looked, after=1)
    step = steps.next_step(every, looked, trace.history, trace.now + memory.LOAD_SECONDS)
    assert step.suspect == "b: version 1 has been LOADING for 600 s"
    trace.now += memory.LOAD_SECONDS
    trace.history = memory.suspected(trace.history, step.suspect)
    trace.step(every, memory.Seen(message="UNAVAILABLE"), after=1)
    assert trace.step(every, seen(), after=1) == "push a: - -> {1}"
    assert trace.step(every, seen(a={1: "AVAILABLE"}), after=1) == "serving what is wanted"


def test_a_name_comes_back_only_when_its_previous_life_has_ended():
    trace, half = Trace(), wanted(verified=[1])
    trace.step(half)
    assert trace.step([], seen(half={1: "AVAILABLE"}), after=5) == "push half: {1} -> -"
    assert trace.step(half, seen(half={1: "UNLOADING"}), after=0.1) == "half: waiting for the END of version 1"
    assert trace.step(half, seen(half={1: "END"}), after=0.1) == "half: waiting for the model server to let go of it"
    assert trace.step(half, seen(half={1: "END"}), after=3) == "push half: - -> {1}"


def test_a_candidate_has_a_name_of_its_own_and_is_handed_over_in_one_push():
    """Two entries with one base path are two models to the server; measured: the private one ends before the other loads."""
    trace = Trace()
    real, candidate = wanted("ta", Specific((1,)), [1, 2]), wanted("ta--candidate", Specific((2,)), [1, 2])
    trace.step(real)
    serving = {"ta": {1: "AVAILABLE"}}
    assert trace.step([real, candidate], seen(**serving), after=5) == "push ta--candidate: - -> {2}"
    assert trace.step([real, candidate], seen(**serving, **{"ta--candidate": {2: "LOADING"}}), after=1) == (
        "ta--candidate: version 2 is LOADING"
    )
    tried = seen(**serving, **{"ta--candidate": {2: "AVAILABLE"}})
    assert trace.step([real, candidate], tried, after=1) == "serving what is wanted"
    grown = wanted("ta", Specific((1, 2)), [1, 2])
    assert trace.step([grown], tried, after=5) == "push ta: {1} -> {1, 2}; ta--candidate: {2} -> -"
    assert trace.step([grown], seen(ta={1: "AVAILABLE", 2: "LOADING"}), after=1) == "ta: version 2 is LOADING"
    promoted = wanted("ta", Specific((2,)), [1, 2], labels={"stable": 2})
    both = seen(ta={1: "AVAILABLE", 2: "AVAILABLE"})
    assert trace.step([promoted], both, after=1) == "push ta: {1, 2} -> {2} stable=2"


def test_a_candidate_that_fails_leaves_its_model_alone():
    trace = Trace()
    real, candidate = wanted("ta", Specific((1,)), [1, 2]), wanted("ta--candidate", Specific((2,)), [1, 2])
    trace.step(real)
    trace.step([real, candidate], seen(ta={1: "AVAILABLE"}), after=5)
    failed = seen(ta={1: "AVAILABLE"}, **{"ta--candidate": {2: FAILED}})
    assert trace.step([real, candidate], failed, after=5) == "push ta--candidate: {2} -> -"
    assert trace.step([real], failed, after=5) == "serving what is wanted"


def test_a_restarted_server_is_fed_again():
    trace, half = Trace(), wanted(verified=[1])
    trace.step(half)
    trace.step(half, seen(half={1: "AVAILABLE"}), after=1)
    assert trace.step(half, memory.Seen(message="UNAVAILABLE"), after=1) == "waiting for the model server: UNAVAILABLE"
    assert trace.step(half, seen(), after=1) == "push half: - -> {1}"


def test_a_rogue_reload_is_undone():
    trace, half = Trace(), wanted(verified=[1])
    trace.step(half)
    trace.step(half, seen(half={1: "AVAILABLE"}), after=1)
    assert trace.step(half, seen(half={1: "END"}), after=10).startswith("push pushing the whole config")


def test_nothing_is_sent_while_a_reload_is_in_flight_and_an_overdue_one_makes_the_server_suspect():
    half = wanted(verified=[1])
    history = memory.sent(memory.History(pushed={}, reachable=True), {"half": memory.Served(frozenset({1}))}, 1000.0)
    step = steps.next_step([half, wanted("b", verified=[1])], seen(), history, 1005.0)
    assert (step.push, step.reason) == (None, "waiting for the model server to answer a reload")
    step = steps.next_step([half], seen(half={1: "LOADING"}), history, 1000.0 + memory.LOAD_SECONDS + 1)
    assert step.suspect == "a reload has had no answer for 600 s"
    again = steps.next_step([half], seen(), memory.suspected(history, step.suspect), 1605.0)
    assert again.push is None
    assert again.suspect == step.suspect


def test_a_suspect_server_is_trusted_again_once_it_was_away():
    history = memory.suspected(memory.History(pushed={"half": memory.Served(frozenset({1}))}, reachable=True), "hung")
    history = looks.fold(history, memory.Seen(message="gone"), {}, 1.0)
    history = looks.fold(history, seen(), {}, 2.0)
    assert (history.suspect, dict(history.pushed or {})) == ("", {})


def test_a_server_that_is_too_busy_to_answer_has_not_been_away():
    """Its threads are taken: by clients, or by reloads that hang. Only a restart ends the suspicion."""
    half, busy = wanted(verified=[1]), memory.Seen(message="RESOURCE_EXHAUSTED", is_busy=True)
    history = memory.suspected(memory.History(pushed={"half": memory.Served(frozenset({1}))}, reachable=True), "hung")
    assert looks.fold(looks.fold(history, busy, {}, 1.0), seen(half={1: "AVAILABLE"}), {}, 2.0).suspect == "hung"
    trace = Trace()
    trace.step(half)
    assert trace.step(half, busy, after=1) == "waiting for the model server: RESOURCE_EXHAUSTED"
    in_flight = memory.sent(trace.history, {"half": memory.Served(frozenset({1, 2}))}, trace.now)
    step = steps.next_step([half], busy, in_flight, trace.now + memory.LOAD_SECONDS + 1)
    assert step.suspect == "a reload has had no answer for 600 s"


def test_a_restarted_agent_keeps_what_serves():
    trace = Trace(memory.History())
    half = wanted(verified=[2])
    assert trace.step(half, seen(half={1: "AVAILABLE"})) == (
        "push pushing the whole config: what the model server has is not known (1 models)"
    )
    assert trace.history.pushed == {"half": memory.Served(frozenset({1, 2}))}


def test_equal_facts_give_equal_steps():
    history = memory.History(pushed={}, reachable=True)
    half = wanted(verified=[3])
    assert steps.next_step([half], seen(), history, 5.0) == steps.next_step([half], seen(), dataclasses.replace(history), 5.0)
