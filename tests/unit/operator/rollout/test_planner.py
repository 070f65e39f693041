"""What one pass decides from facts that are hard to come by in a whole fleet: a candidate sets out, passes, is promoted."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import BOTH, MODEL, NOW, READY, desired, kept, plan, pod, seen, silent
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, Strategy
from tfmodel_operator.plan.rollout import facts, record
from tfmodel_operator.plan.rollout.step import Phase, Pods
from tfmodel_serving import state

REQUIRE = Comparison(ComparisonPolicy.REQUIRE, 0.01)


# -- when a candidate sets out --------------------------------------------------------------------------------------------


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


def replacing(server):
    """Facts of a version that comes with new pods, of which there are none yet."""
    found = seen(pod("a", READY, current=False), versions={2}, good={1}, kept=kept(candidate=2), server=server)
    return dataclasses.replace(found, published=dataclasses.replace(found.published, immutable=True))


def test_the_clock_of_a_candidate_begins_anew_after_a_pause_or_new_pods_without_room():
    full = facts.Server(1, "image-1", "image-1", "no room", unschedulable=True)
    growing = seen(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2))
    for wish, found, phases in [
        (desired(paused=True), growing, (Phase.PAUSED, Phase.GROWING)),
        (desired(), replacing(full), (Phase.WAITING, Phase.REPLACING)),
    ]:
        stopped = plan(wish, found, NOW + 10_000)
        assert (stopped.phase, stopped.deadline) == (phases[0], None)
        found = dataclasses.replace(found, record=record.to_text(stopped.record), server=facts.Server(1, "image-1", "image-1"))
        going_on = plan(desired(), found, NOW + 20_000)
        assert (going_on.phase, going_on.deadline) == (phases[1], NOW + 20_600)


def test_in_place_a_pod_that_finds_no_node_is_not_waited_for():
    full = facts.Server(2, "image-1", "image-1", "no room", unschedulable=True)
    found = seen(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2), server=full)
    step = plan(desired(), found)
    assert (step.phase, step.deadline) == (Phase.GROWING, NOW + 600)
    assert "version 2 is LOADING" in step.reason
    assert plan(desired(), found, NOW + 601).phase is Phase.ROLLING_BACK
    nobody = dataclasses.replace(found, pods=(dataclasses.replace(found.pods[0], ready=False),))
    assert plan(desired(), nobody, NOW + 601).phase is Phase.GROWING


def test_pods_wait_for_an_accelerator_only_if_they_ask_for_one():
    found = replacing(facts.Server(1, "image-1", "image-1", "1 node(s) didn't match Pod's node affinity/selector", unschedulable=True))
    for memory, phase in [(facts.Memory(), Phase.WAITING), (facts.Memory(accelerator="nvidia.com/gpu"), Phase.WAITING_FOR_ACCELERATOR)]:
        step = plan(desired(memory=memory), found)
        assert (step.phase, step.deadline) == (phase, None)
        assert "didn't match" in step.reason


@pytest.mark.parametrize(("problem", "phase"), [("no room", Phase.ROLLING_BACK), ("", Phase.REPLACING)])
def test_new_pods_that_can_not_start_make_way_for_those_that_spec_asks_for_since(problem, phase):
    server = facts.Server(1, "image-1", "image-2", problem, unschedulable=bool(problem))
    step = plan(desired(strategy=Strategy.ROLLING_UPDATE), replacing(server))
    assert (step.phase, step.record.quarantine) == (phase, ())
    assert (step.config.versions, step.template.pods) == (({1}, Pods.DESIRED) if problem else ({2}, Pods.LIVE))


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


@pytest.mark.parametrize("files", ["Missing", "Incomplete", "Rejected"])
def test_a_candidate_whose_files_have_gone_bad_since_it_was_loaded_alone_is_not_handed_over(files):
    """It is loaded once more then, by its own name."""
    manual = desired(approval=Approval.MANUAL, approved_version=2)
    good, bad = (pod(name, {1: "AVAILABLE", 2: said}, alone={2: "AVAILABLE"}) for name, said in (("a", ""), ("b", files)))
    trial = kept(candidate=2)
    step = plan(manual, seen(good, bad, alone=2, kept=trial))
    assert (step.phase, step.config.versions, step.config.on_trial) == (Phase.VERIFYING, {1}, {2})
    assert f"version 2 verified on 1 of 2 pods; pod b: {files}" in step.reason
    assert plan(manual, seen(good, dataclasses.replace(good, name="b"), alone=2, kept=trial)).config.versions == {1, 2}
