"""What is promoted can be taken back for a while, and what it replaced goes."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import BOTH, NOW, desired, kept, plan, pod, seen
from tfmodel_operator.api import conditions
from tfmodel_operator.api.rollout_spec import Strategy
from tfmodel_operator.plan.rollout import narrate, record
from tfmodel_operator.plan.rollout.record import Bake, Candidate, Good, Record
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving.model_config import All, Latest, Specific


def baking(*pods, since=NOW, **given):
    bake = Bake(Good(frozenset({1}), {"stable": 1}), since)
    return seen(*pods, versions={1, 2}, kept=Record(Good(frozenset({2}), {"stable": 2}), bake), **given)


def test_a_crash_within_the_bake_takes_the_version_back_at_once():
    crashing = pod("a", {}, crash="OOMKilled", crashed_at=NOW + 5)
    step = plan(desired(bake_seconds=60), baking(crashing, pod("b", BOTH)), NOW + 10)
    assert (str(step.config), step.promoted, step.record.good.versions) == ("{1} stable=1", 1, {1})
    assert step.record.quarantine[0].cause == "CrashLoopBackOff"
    other = pod("b", {2: "AVAILABLE"})
    step = plan(desired(bake_seconds=60), baking(crashing, other), NOW + 10)
    assert (str(step.config), step.reason.split("; ")[-1]) == ("{1, 2} stable=2", "first, pod b has to load version 1")


def test_a_crash_after_the_bake_or_before_the_promotion_does_not():
    for at, now in [(NOW + 65, NOW + 70), (NOW - 1, NOW + 10)]:
        crashing = pod("a", BOTH, crash="OOMKilled", crashed_at=at)
        step = plan(desired(bake_seconds=60), baking(crashing), now)
        assert step.record.good.versions == {2}


def test_a_bake_ends_when_its_time_is_over_and_every_pod_has_what_is_promoted():
    wish = desired(bake_seconds=60)
    assert plan(wish, baking(pod("a", BOTH)), NOW + 59).deadline == NOW + 60
    assert plan(wish, baking(pod("a", BOTH)), NOW + 60).config.versions == {2}
    assert plan(wish, baking(pod("a", BOTH), pod("b", {1: "AVAILABLE", 2: "LOADING"})), NOW + 60).config.versions == {1, 2}
    assert plan(desired(bake_seconds=0), baking(pod("a", BOTH)), NOW + 1).config.versions == {2}
    assert plan(desired(bake_seconds=60, paused=True), baking(pod("a", BOTH)), NOW + 99).config.versions == {1, 2}


def test_a_time_that_is_yet_to_come_is_taken_for_now():
    wish, ahead = desired(bake_seconds=60), NOW + 86_400
    step = plan(wish, baking(pod("a", BOTH), since=ahead))
    assert (step.phase, step.deadline) == (Phase.BAKING, NOW + 60)
    step = plan(wish, seen(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2, since=ahead)))
    assert (step.deadline, step.record.candidate.since, step.record.candidate.started) == (NOW + 600, NOW, NOW)


def test_what_is_no_longer_wanted_goes_when_every_ready_pod_has_what_stays():
    behind = pod("b", {1: "AVAILABLE", 2: "LOADING"})
    step = plan(desired(Specific((2,))), seen(pod("a", BOTH), behind, versions={1, 2}))
    assert (step.config.versions, step.phase) == ({1, 2}, Phase.SETTLING)
    assert step.reason == "version 1 kept until version 2 can take over: pod b: version 2 is LOADING"
    assert plan(desired(Specific((2,))), seen(pod("a", BOTH), pod("b", BOTH), versions={1, 2})).config.versions == {2}


def test_a_server_that_crashes_since_a_version_set_out_speaks_against_it_whatever_the_agent_says():
    crashing = pod("a", {1: "AVAILABLE", 2: "LOADING"}, crash="OOMKilled", crashed_at=NOW - 5)
    found = seen(crashing, pod("b", BOTH), versions={1, 2}, kept=kept(candidate=2, since=NOW - 10))
    step = plan(desired(), found)
    assert (step.phase, step.config.versions, step.record.quarantined(2).cause) == (Phase.ROLLING_BACK, {1}, "CrashLoopBackOff")
    for excuse in (Candidate(2, NOW - 10, NOW - 10, excused=frozenset({"a"})), Candidate(2, NOW - 1, NOW - 10)):
        record_of_it = Record(Good(frozenset({1}), {"stable": 1}), candidate=excuse)
        step = plan(desired(), dataclasses.replace(found, record=record.to_text(record_of_it)))
        assert (step.phase, step.config.versions) == (Phase.GROWING, {1, 2})


@pytest.mark.parametrize(
    ("policy", "labels", "phase", "says"),
    [
        pytest.param(Latest(1), {"stable": 1}, Phase.COMPLETE, "version 1 promoted", id="as wanted"),
        pytest.param(Latest(1), {"stable": 1, "next": 9}, Phase.VERIFYING, "label next is nowhere: version 9 is not served yet", id="may come"),
        pytest.param(Specific((1,)), {"stable": 9}, Phase.BLOCKED, "label stable stays on version 1: version 9 is not served, and versionPolicy", id="not asked for"),
    ],
)  # fmt: skip
def test_a_label_that_is_not_where_the_user_wants_it_is_told(policy, labels, phase, says):
    step = plan(desired(policy, labels=labels), seen(pod("a", {1: "AVAILABLE"})))
    assert (step.phase, step.reason[: len(says)]) == (phase, says)
    if phase is Phase.BLOCKED:
        assert narrate.finding(step).reason is conditions.Reason.INVALID_SPEC


def test_a_label_that_would_move_waits_while_paused_and_says_so():
    step = plan(desired(All(), labels={"stable": 1}, paused=True), seen(pod("a", BOTH), versions={1, 2}))
    assert (str(step.config), step.phase) == ("{1, 2} stable=2", Phase.PAUSED)


def test_the_clock_of_a_candidate_stands_still_at_zero_replicas():
    wish = desired(strategy=Strategy.ROLLING_UPDATE)
    found = seen(versions={1, 2}, kept=kept(candidate=2))
    asleep = plan(wish, found, NOW + 5000)
    assert (asleep.phase, asleep.deadline, asleep.record.candidate.stopped) == (Phase.GROWING, None, True)
    awake = seen(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=asleep.record)
    step = plan(wish, awake, NOW + 6000)
    assert (step.phase, step.deadline) == (Phase.GROWING, NOW + 6600)
