"""What one pass decides from facts that are hard to come by in a whole fleet."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator import makers
from tests.unit.operator.rollout.makers import MODEL, NOW, desired, pod, seen, silent
from tfmodel_operator.api import conditions
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, OnFailure, Strategy
from tfmodel_operator.plan import service
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import facts, narrate, planner, record
from tfmodel_operator.plan.rollout.record import Bake, Candidate, Good, Quarantined, Record
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving import model_config, state
from tfmodel_serving.model_config import All, Latest, Specific

REQUIRE = Comparison(ComparisonPolicy.REQUIRE, 0.01)


def plan(wish, found, now=NOW):
    step = planner.plan_rollout(wish, found, now)
    assert planner.plan_rollout(wish, found, now) == step
    return step


def kept(good=(1,), candidate=None, since=NOW, **given):
    moving = Candidate(candidate, since, since) if candidate else None
    return Record(Good(frozenset(good), {"stable": max(good)}), candidate=moving, **given)


# -- when a candidate sets out --------------------------------------------------------------------------------------------


READY = {1: "AVAILABLE", 2: ""}


@pytest.mark.parametrize(
    ("pods", "phase", "said"),
    [
        pytest.param([pod("a", READY), pod("b", READY)], Phase.GROWING, "version 2 verified on 2 of 2 pods", id="verified by all"),
        pytest.param(
            [pod("a", READY), pod("b", {1: "AVAILABLE", 2: "Incomplete"})], Phase.VERIFYING,
            "version 2 verified on 1 of 2 pods; pod b: Incomplete: bad", id="not complete on one",
        ),
        pytest.param(
            [pod("a", READY), pod("b", {1: "AVAILABLE"})], Phase.VERIFYING,
            "version 2 verified on 1 of 2 pods; pod b has not looked at it yet", id="not seen by one",
        ),
        pytest.param([pod("a", READY), silent()], Phase.VERIFYING, "version 2: pod b says nothing", id="a ready pod is silent"),
        pytest.param(
            [pod("a", READY), facts.Pod("b")], Phase.GROWING, "version 2 verified on the one pod", id="a pod that starts counts for nothing"
        ),
        pytest.param(
            [pod("a", READY, extra={2: {"digest": "sha256:aa"}}), pod("b", READY, extra={2: {"digest": "sha256:bb"}})], Phase.VERIFYING,
            "version 2 has other files on one pod than on another: pod a sha256:aa, pod b sha256:bb", id="other files on one",
        ),
        pytest.param(
            [pod("a", READY, extra={2: {"digest": "sha256:aa"}}), pod("b", READY)], Phase.GROWING, "verified on 2 of 2", id="one digest is known"
        ),
        pytest.param(
            [pod("a", READY), pod("b", READY, hash="old")], Phase.WAITING,
            "version 2 is next; first pod b has not read the new config yet", id="a pod is behind",
        ),
        pytest.param(
            [pod("a", READY), pod("b", {1: "AVAILABLE", 2: "UNLOADING"})], Phase.WAITING,
            "version 2 is next; first pod b: version 2 is on its way out", id="its life before is not over",
        ),
    ],
)  # fmt: skip
def test_a_candidate_sets_out_when_all_pods_agree(pods, phase, said):
    step = plan(desired(), seen(*pods))
    assert step.phase is phase
    assert said in step.reason
    assert step.config is not None
    assert step.config.versions == ({1, 2} if phase is Phase.GROWING else {1})


def test_a_pod_that_serves_nobody_and_cannot_read_its_volume_holds_nobody_up():
    blind = dataclasses.replace(pod("b", {}), ready=False)
    assert blind.report is not None
    models = (state.ModelState(MODEL, "the volume is not mounted"),)
    blind = dataclasses.replace(blind, report=dataclasses.replace(blind.report, models=models))
    assert plan(desired(), seen(pod("a", READY), blind)).phase is Phase.GROWING


def test_pods_that_crashed_already_are_no_evidence_against_a_candidate():
    unstable = pod("a", READY, crashed_at=NOW - 60)
    step = plan(desired(), seen(unstable, pod("b", READY)))
    assert step.record.candidate is not None
    assert step.record.candidate.excused == {"a"}
    crashing = pod("a", {1: "AVAILABLE", 2: "LOADING"}, crash="OOMKilled", crashed_at=NOW + 5, ready=False)
    again = seen(crashing, pod("b", {1: "AVAILABLE", 2: "AVAILABLE"}), versions={1, 2}, kept=step.record)
    assert plan(desired(), again, NOW + 10).reason.startswith("publish {2}")


# -- what is promoted -----------------------------------------------------------------------------------------------------


BOTH = {1: "AVAILABLE", 2: "AVAILABLE"}


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        pytest.param([pod("a", BOTH), pod("b", BOTH)], "publish {2} stable=2", id="all have it"),
        pytest.param([pod("a", BOTH), pod("b", BOTH, hash="old")], "pod b has not read the new config", id="a word from before"),
        pytest.param([pod("a", BOTH), silent()], "pod b says nothing", id="a ready pod is silent"),
        pytest.param([pod("a", BOTH), facts.Pod("b")], "publish {2} stable=2", id="a pod that starts begins with what is published"),
        pytest.param([pod("a", BOTH), pod("b", {1: "AVAILABLE", 2: "LOADING"})], "pod b: version 2 is LOADING", id="one loads"),
        pytest.param([facts.Pod("a")], "no pod is ready", id="nobody serves"),
        pytest.param(
            [pod("a", BOTH), pod("b", {1: "LOADING", 2: "LOADING"}, ready=False, crashed_at=NOW + 1)],
            "pod b: its model server has ended and is not ready again", id="a server that has ended since must be back",
        ),
    ],
)  # fmt: skip
def test_a_version_is_promoted_when_every_ready_pod_has_it_under_the_published_config(pods, said):
    assert said in plan(desired(), seen(*pods, versions={1, 2}, kept=kept(candidate=2)), NOW + 2).reason


def test_silence_past_the_deadline_blames_nobody():
    found = seen(pod("a", BOTH), silent(), versions={1, 2}, kept=kept(candidate=2))
    step = plan(desired(), found, NOW + 10_000)
    assert (step.phase, step.record.quarantine, step.deadline) == (Phase.GROWING, (), None)
    found = seen(pod("a", BOTH), pod("b", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2))
    step = plan(desired(), found, NOW + 10_000)
    assert step.phase is Phase.ROLLING_BACK
    assert step.record.quarantine[0].cause == "ProgressDeadlineExceeded"


def test_the_clock_of_a_candidate_begins_anew_after_a_pause_or_a_pod_without_room():
    for wish, server in [(desired(paused=True), None), (desired(), facts.Server(1, "image-1", "image-1", "no GPU", unschedulable=True))]:
        given = {"server": server} if server else {}
        found = seen(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2), **given)
        stopped = plan(wish, found, NOW + 10_000)
        assert stopped.phase in {Phase.PAUSED, Phase.WAITING_FOR_ACCELERATOR}
        found = dataclasses.replace(found, record=record.to_text(stopped.record), server=facts.Server(1, "image-1", "image-1"))
        assert plan(desired(), found, NOW + 20_000).phase is Phase.GROWING
        assert plan(desired(), found, NOW + 20_000).deadline == NOW + 20_600


def test_a_clock_that_is_ahead_costs_the_time_only():
    found = seen(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2, since=NOW + 1e6))
    assert plan(desired(), found).deadline == NOW + 600


# -- alone ----------------------------------------------------------------------------------------------------------------


def compared(relative=0.0, records=12, message="", against=1):
    return state.Comparison(2, against, records, (state.OutputDifference("y", relative, relative),), message=message)


@pytest.mark.parametrize(
    ("result", "phase", "said"),
    [
        pytest.param(None, Phase.COMPARING, "pod a has not compared version 2 with 1 yet", id="not yet"),
        pytest.param(compared(against=7), Phase.COMPARING, "has not compared version 2 with 1 yet", id="with another one"),
        pytest.param(compared(0.01), Phase.GROWING, "publish {1, 2}", id="at the limit"),
        pytest.param(compared(0.011), Phase.ROLLING_BACK, "by 0.011 of its value, and may by 0.01", id="beyond it"),
        pytest.param(compared(float("nan")), Phase.ROLLING_BACK, "by nan of its value", id="not a number"),
        pytest.param(compared(records=0), Phase.ROLLING_BACK, "there are no warmup records to compare by", id="nothing to go by"),
        pytest.param(compared(message="version 2: Predict failed"), Phase.ROLLING_BACK, "Predict failed", id="it can't be made"),
    ],
)
def test_what_is_required_of_a_comparison(result, phase, said):
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}, comparison=result), alone=2, compare_with=1, kept=kept(candidate=2))
    step = plan(desired(comparison=REQUIRE), found)
    assert step.phase is phase
    assert said in step.reason


def test_a_comparison_that_is_only_reported_holds_nobody_up_for_ever():
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, compare_with=1, kept=kept(candidate=2))
    wish = desired(comparison=Comparison(ComparisonPolicy.REPORT))
    assert plan(wish, found, NOW + 599).phase is Phase.COMPARING
    assert plan(wish, found, NOW + 600).phase is Phase.GROWING


def test_waiting_for_a_person_has_no_deadline():
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=kept(candidate=2))
    step = plan(desired(approval=Approval.MANUAL), found, NOW + 1e6)
    assert (step.phase, step.deadline) == (Phase.WAITING_FOR_APPROVAL, None)
    assert "set spec.rollout.approvedVersion to 2" in step.reason
    given = plan(desired(approval=Approval.MANUAL, approved_version=1), found).reason
    assert "approvedVersion to 2 (it is 1)" in given
    handed = plan(desired(approval=Approval.MANUAL, approved_version=2), found, NOW + 1e6)
    assert (handed.phase, handed.record.candidate.since, handed.record.candidate.started) == (Phase.GROWING, NOW + 1e6, NOW)
    assert handed.config.candidate is None


# -- quarantine -----------------------------------------------------------------------------------------------------------


FAILED = Quarantined(2, "ModelLoadFailed", "unsound", "sha256:aa")


@pytest.mark.parametrize(
    ("entry", "version", "retry", "is_out"),
    [
        pytest.param(FAILED, {"digest": "sha256:aa"}, "", True, id="the same files"),
        pytest.param(FAILED, {"digest": "sha256:bb"}, "", False, id="other files"),
        pytest.param(FAILED, {}, "", True, id="files of which the digest is not known yet"),
        pytest.param(FAILED, {}, "2", False, id="somebody asks"),
        pytest.param(FAILED, {}, "3", True, id="somebody asks for another one"),
        pytest.param(dataclasses.replace(FAILED, retry="2"), {}, "2", True, id="somebody asked before it failed"),
        pytest.param(dataclasses.replace(FAILED, retry="2"), {}, "2 again", False, id="somebody asks again"),
        pytest.param(dataclasses.replace(FAILED, digest=""), {"digest": "sha256:bb"}, "", True, id="the digest is learnt later"),
    ],
)
def test_what_ends_a_quarantine(entry, version, retry, is_out):
    found = seen(pod("a", READY, extra={2: version}), kept=kept(quarantine=(entry,)))
    step = plan(desired(retry=retry), found)
    assert (step.record.quarantined(2) is not None) is is_out
    assert (step.phase is Phase.ROLLED_BACK) is is_out


def test_a_digest_is_learnt_later_and_an_annotation_taken_away_may_be_set_again():
    entry = dataclasses.replace(FAILED, digest="", retry="2")
    step = plan(desired(), seen(pod("a", READY, extra={2: {"digest": "sha256:cc"}}), kept=kept(quarantine=(entry,))))
    assert step.record.quarantine[0] == dataclasses.replace(FAILED, digest="sha256:cc")


def test_files_that_are_written_end_the_quarantine_of_files_nobody_has_hashed():
    entry = dataclasses.replace(FAILED, digest="")
    step = plan(desired(), seen(pod("a", {1: "AVAILABLE", 2: "Incomplete"}), kept=kept(quarantine=(entry,))))
    assert (step.phase, step.record.quarantine) == (Phase.VERIFYING, ())


def test_a_failure_from_before_is_no_verdict():
    behind = pod("b", {1: "AVAILABLE", 2: "failed"}, hash="old")
    found = seen(pod("a", BOTH), behind, versions={1, 2}, kept=kept(candidate=2))
    assert plan(desired(), found).phase is Phase.GROWING


@pytest.mark.parametrize(("on_failure", "alone"), [(OnFailure.ROLL_BACK, set()), (OnFailure.HOLD, {2})])
def test_a_version_that_fails_is_taken_out_or_held_alone(on_failure, alone):
    found = seen(pod("a", {1: "AVAILABLE", 2: "failed"}), versions={1, 2}, kept=kept(candidate=2))
    step = plan(desired(on_failure=on_failure), found)
    assert (step.phase, step.config.versions, step.config.on_trial) == (Phase.ROLLING_BACK, {1}, alone)
    assert step.config.watched == (() if alone else (2,))


def test_nothing_is_held_where_a_server_crashes():
    entry = dataclasses.replace(FAILED, held=True)
    found = seen(pod("a", READY, crash="Error", crashed_at=NOW), alone=2, kept=kept(quarantine=(entry,)))
    assert plan(desired(), found).config.candidate is None


# -- after promotion ------------------------------------------------------------------------------------------------------


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


# -- many versions have failed --------------------------------------------------------------------------------------------

MANY = range(100, 100 + record.MAX_QUARANTINED)
FULL = kept(quarantine=record.bounded(*(Quarantined(v, "ModelLoadFailed", "unsound") for v in MANY)))


def test_what_is_older_than_all_that_is_remembered_to_have_failed_is_not_tried_again_for_ever():
    there = {1: "AVAILABLE", 90: "", **dict.fromkeys(MANY, "")}
    step = plan(desired(), seen(pod("a", there), kept=FULL))
    assert (step.config.versions, step.candidate, step.phase) == ({1}, None, Phase.ROLLED_BACK)
    step = plan(desired(), seen(pod("a", {**there, 200: ""}), kept=FULL))
    assert step.config.versions == {1, 200}, "a newer one is tried"


def test_a_full_quarantine_has_room_for_what_is_asked_for_by_number_or_when_versions_are_deleted():
    there = {1: "AVAILABLE", 90: "", **dict.fromkeys(MANY, "")}
    assert plan(desired(Specific((90,))), seen(pod("a", there), kept=FULL)).config.versions == {1, 90}
    there[MANY[0]] = "Missing"
    step = plan(desired(), seen(pod("a", there), kept=FULL))
    assert (step.config.versions, len(step.record.quarantine)) == ({1, 90}, record.MAX_QUARANTINED - 1)


def test_a_version_that_failed_stays_out_however_long_the_request_to_retry_is():
    retry = "2 " + "please " * 1000
    step = plan(desired(retry=retry), seen(pod("a", {1: "AVAILABLE", 2: "failed"}), versions={1, 2}, good={1}))
    assert step.record.quarantined(2)
    step = plan(desired(retry=retry), seen(pod("a", READY), kept=record.from_text(record.to_text(step.record))))
    assert (step.phase, step.config.versions) == (Phase.ROLLED_BACK, {1})


def test_numbers_that_no_version_can_have_are_nothing():
    odd = pod("a", {1: "AVAILABLE", 0: "AVAILABLE", -1: "", 2**63: "AVAILABLE", 2**64: ""})
    step = plan(desired(), seen(odd))
    assert (step.config.versions, step.promoted, step.candidate) == ({1}, 1, None)
    assert narrate.status(step, seen(odd), MODEL)["promotedVersion"] == 1


# -- the record is lost ---------------------------------------------------------------------------------------------------


def forgotten(*pods, versions, **given):
    found = seen(*pods, versions=versions, **given)
    return dataclasses.replace(found, record="")


@pytest.mark.parametrize(
    ("pods", "promoted"),
    [
        pytest.param([pod("a", {1: "AVAILABLE", 2: "LOADING"})], 1, id="one of two serves"),
        pytest.param([pod("a", BOTH), pod("b", BOTH)], 2, id="both do"),
        pytest.param([pod("a", {2: "AVAILABLE"}), pod("b", BOTH)], 2, id="one in all pods"),
        pytest.param([pod("a", {1: "AVAILABLE"}), pod("b", {2: "AVAILABLE"})], None, id="none in all pods"),
        pytest.param([pod("a", BOTH), silent()], None, id="one is silent"),
        pytest.param([facts.Pod("a")], None, id="nobody is ready"),
    ],
)
def test_what_is_published_and_served_is_what_is_promoted(pods, promoted):
    found = forgotten(*pods, versions={1, 2})
    step = plan(desired(All()), found)
    assert step.promoted == promoted
    assert step.config.versions == {1, 2}, "nothing is dropped that some pod may serve"


def test_a_record_of_what_is_not_published_is_not_believed():
    found = seen(pod("a", {1: "AVAILABLE", 2: ""}), pod("b", {1: "AVAILABLE", 2: ""}), kept=kept(good=(9,)))
    step = plan(desired(Specific((1,))), found)
    assert (str(step.config), step.promoted, step.phase) == ("{1} stable=1", 1, Phase.COMPLETE)
    assert plan(desired(Specific((1,))), dataclasses.replace(found, pods=(silent(),))).config == found.published.config


def test_where_old_pods_serve_while_new_ones_fail_what_they_serve_is_promoted():
    old = pod("a", {1: "AVAILABLE", 2: ""}, hash="old", current=False, extra={1: {"labels": ("stable",)}})
    found = forgotten(old, pod("b", {2: "failed"}, ready=False), versions={2})
    found = dataclasses.replace(found, published=dataclasses.replace(found.published, immutable=True))
    step = plan(desired(strategy=Strategy.ROLLING_UPDATE), found)
    assert (step.phase, str(step.config)) == (Phase.ROLLING_BACK, "{1} stable=1")


def test_without_a_config_nothing_is_written_until_the_pods_have_spoken():
    found = facts.Facts(server=facts.Server(2, "image-1", "image-1"), pods=(pod("a", {1: "AVAILABLE"}), silent()))
    assert plan(desired(), found).config is None
    labelled = pod("a", {1: "AVAILABLE"}, extra={1: {"labels": ("stable", "old")}})
    found = dataclasses.replace(found, pods=(labelled,))
    assert str(plan(desired(labels={"stable": 9, "next": 1}), found).config) == "{1} next=1 stable=1"


def test_a_version_that_was_never_promoted_has_no_way_back_and_is_left_to_the_agents():
    found = forgotten(pod("a", {2: "failed", 1: ""}, ready=False), versions={2})
    assert plan(desired(Latest(1)), found).config.served == Latest(1)
    assert plan(desired(Specific((2,))), found).config.versions == {2}


# -- versions and labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "there", "said"),
    [
        pytest.param(Latest(1), {1: "AVAILABLE"}, "version 1 promoted", id="all is as it should be"),
        pytest.param(Latest(1), {1: "Missing"}, "version 1 promoted; no pod is ready", id="gone, and nothing else is there"),
        pytest.param(Specific((7,)), {1: "AVAILABLE"}, "version 7 verified on 0 of 1 pods", id="what is wanted is not there"),
    ],
)
def test_what_is_promoted_is_kept_for_want_of_anything_better(policy, there, said):
    is_ready = "AVAILABLE" in there.values()
    step = plan(desired(policy), seen(pod("a", there, ready=is_ready)))
    assert step.config.versions == {1}
    assert said in step.reason


def test_a_promoted_version_that_is_lost_makes_way_for_what_is_there():
    lost = {2: "Missing", 1: ""}
    found = seen(pod("a", lost, ready=False), pod("b", {2: "AVAILABLE", 1: ""}, extra={2: {}}), versions={2})
    assert plan(desired(), found).config.versions == {2}, "one pod still sees it"
    gone = pod("b", {1: ""}, extra={})
    serving = dataclasses.replace(
        gone,
        report=dataclasses.replace(
            gone.report,
            models=(state.ModelState(MODEL, "", (state.VersionState(2, "Missing", "AVAILABLE"), state.VersionState(1, "Verified"))),),
        ),
    )
    step = plan(desired(), seen(pod("a", lost, ready=False), serving, versions={2}))
    assert (step.phase, step.config.versions) == (Phase.GROWING, {1, 2})
    assert plan(desired(), seen(serving, versions={2})).config.versions == {2}, "it is kept while nobody needs it"


def test_going_down_is_dropping_what_is_above():
    found = seen(pod("a", BOTH), versions={1, 2}, good={2}, kept=kept(good=(2,), candidate=1))
    step = plan(desired(Specific((1,)), bake_seconds=60), found)
    assert (str(step.config), step.promoted, step.record.bake) == ("{1} stable=1", 1, None)


def test_an_unwanted_version_on_top_goes_before_anything_new_comes():
    found = seen(pod("a", {1: "AVAILABLE", 2: "", 3: "AVAILABLE"}), versions={1, 3})
    step = plan(desired(Specific((1, 2))), found)
    assert (step.config.versions, step.promoted) == ({1}, 1)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        pytest.param(None, "{1, 2} stable=2", id="by itself: stable is on what is promoted"),
        pytest.param({}, "{1, 2}", id="none"),
        pytest.param({"a": 1, "b": 2}, "{1, 2} a=1 b=2", id="as the user says"),
        pytest.param({"stable": 9}, "{1, 2} stable=2", id="to a version that isn't served: it stays where it is"),
        pytest.param({"new": 9}, "{1, 2}", id="a new one to a version that isn't served"),
    ],
)
def test_where_labels_are(wish, said):
    assert str(plan(desired(Latest(2), labels=wish), seen(pod("a", BOTH), versions={1, 2})).config) == said


def test_a_label_moves_only_when_every_ready_pod_has_its_version():
    wish = desired(Latest(2), labels={"stable": 1})
    assert str(plan(wish, seen(pod("a", BOTH), pod("b", {2: "AVAILABLE", 1: "LOADING"}), versions={1, 2})).config) == "{1, 2} stable=2"
    assert str(plan(wish, seen(pod("a", BOTH), pod("b", BOTH), versions={1, 2})).config) == "{1, 2} stable=1"
    frozen = dataclasses.replace(wish, rollout=dataclasses.replace(wish.rollout, paused=True))
    assert str(plan(frozen, seen(pod("a", BOTH), versions={1, 2})).config) == "{1, 2} stable=2"


def test_a_label_keeps_an_old_version_but_none_that_would_get_everybody_s_requests():
    step = plan(desired(Specific((2,)), labels={"old": 1}), seen(pod("a", BOTH), versions={1, 2}))
    assert str(step.config) == "{1, 2} old=1"
    step = plan(desired(Specific((1,)), labels={"new": 2}), seen(pod("a", BOTH), versions={1, 2}))
    assert str(step.config) == "{1}"


def test_versions_asked_for_by_number_are_watched_however_old():
    assert plan(desired(Specific((1, 7))), seen(pod("a", {1: "AVAILABLE"}))).config.watched == (7,)


# -- pods and templates ---------------------------------------------------------------------------------------------------


def test_a_paused_rollout_leaves_the_pods_alone_too():
    server = facts.Server(1, "image-1", "image-2")
    found = seen(pod("a", {1: "AVAILABLE"}), server=server)
    assert plan(desired(), found).template.pods == "desired"
    step = plan(desired(paused=True), found)
    assert (step.phase, step.template.pods) == (Phase.PAUSED, "live")


def test_both_in_one_that_fails_for_want_of_time_is_split():
    good = Good(frozenset({1}), {"stable": 1})
    both = Record(good, candidate=Candidate(2, NOW, NOW, with_template=True))
    found = seen(pod("a", {1: "AVAILABLE", 2: ""}, hash="old", current=False), versions={2}, kept=both)
    found = dataclasses.replace(found, published=dataclasses.replace(found.published, immutable=True))
    wish = desired(strategy=Strategy.ROLLING_UPDATE)
    step = plan(wish, found, NOW + 600)
    assert (step.phase, step.record.quarantine, step.template.pods) == (Phase.ROLLING_BACK, (), "desired")
    failing = dataclasses.replace(found, pods=(*found.pods, pod("b", {2: "failed"}, ready=False)))
    assert plan(wish, failing, NOW + 5).record.quarantined(2) is not None


def test_a_manual_rolling_update_is_approved_before_it_begins():
    wish = desired(strategy=Strategy.ROLLING_UPDATE, approval=Approval.MANUAL)
    step = plan(wish, seen(pod("a", READY)))
    assert (step.phase, step.config.versions) == (Phase.WAITING_FOR_APPROVAL, {1})
    wish = desired(strategy=Strategy.ROLLING_UPDATE, approval=Approval.MANUAL, approved_version=2)
    step = plan(wish, seen(pod("a", READY)))
    assert (step.phase, step.config.versions, step.template.immutable) == (Phase.REPLACING, {2}, True)
    withdrawn = seen(pod("a", READY, current=False), versions={2}, kept=step.record)
    withdrawn = dataclasses.replace(withdrawn, published=dataclasses.replace(withdrawn.published, immutable=True))
    back = plan(desired(strategy=Strategy.ROLLING_UPDATE, approval=Approval.MANUAL), withdrawn)
    assert (back.phase, back.config.versions, back.template.immutable) == (Phase.ROLLING_BACK, {1}, False)


# -- status ---------------------------------------------------------------------------------------------------------------


def test_status_names_every_version_that_clients_get():
    found = seen(pod("a", BOTH), pod("b", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2))
    assert narrate.status(plan(desired(), found), found, MODEL) == {
        "promotedVersion": 1,
        "candidateVersion": 2,
        "rollout": {
            "phase": "Growing",
            "step": "version 2 on 1 of 2 ready pods: pod b: version 2 is LOADING",
            "startedAt": "2027-01-15T08:00:00Z",
        },
    }
    strange = seen(pod("a", {1: "AVAILABLE"}), pod("b", {1: "AVAILABLE", 7: "AVAILABLE"}))
    assert narrate.status(plan(desired(Specific((1,))), strange), strange, MODEL)["rollout"]["step"].endswith(
        "; pod b answers with version 7"
    )
    assert narrate.status(plan(desired(), facts.Facts()), facts.Facts(), MODEL) == {
        "rollout": {"phase": "Starting", "step": "nothing is promoted yet: waiting for the first version to serve on all ready pods"}
    }


def test_status_keeps_to_its_bounds():
    noisy = pod("a", {1: "AVAILABLE", 2: "failed"}, extra={})
    models = (state.ModelState(MODEL, "", (state.VersionState(1, "Verified", "AVAILABLE"), state.VersionState(2, "Incomplete", message="x" * 5000))),)
    noisy = dataclasses.replace(noisy, report=dataclasses.replace(noisy.report, models=models))
    found = seen(noisy)
    assert len(narrate.status(plan(desired(), found), found, MODEL)["rollout"]["step"]) <= narrate.STEP_CHARACTERS


def test_endpoints_name_labels_and_a_candidate_on_trial():
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=kept(candidate=2))
    step = plan(desired(approval=Approval.MANUAL), found)
    told = service.endpoints(makers.tfmodel(), step.config)
    assert told["labels"] == {"stable": "http://half.ml.svc:8501/v1/models/half/labels/stable"}
    assert told["candidate"] == "http://half.ml.svc:8501/v1/models/half--candidate"
    assert {"labels", "candidate"}.isdisjoint(service.endpoints(makers.tfmodel()))


# -- the config -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (configs.Config(Specific((3, 4)), {"stable": 3}, Specific((5,)), 4), "{3, 4} stable=3, alone {5} against 4"),
        (configs.Config(Latest(2)), "latest 2"),
        (configs.Config(All(), {}, Latest(1)), "all, alone latest 1"),
        (configs.Config(None, {}, Specific((2,))), "nothing, alone {2}"),
    ],
)
def test_a_config_is_published_as_entries_and_read_back(made, said):
    entries = configs.models(made, "m" * 63, "/models/claim/m")
    text = model_config.to_text(entries)
    assert configs.from_models(model_config.from_text(text), "m" * 63, made.compare_with) == made
    assert str(made) == said
