"""What status says of a rollout."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import MODEL, NOW, desired, pod, seen
from tfmodel_operator.api.conditions import Reason, Severity
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, OnFailure, Strategy
from tfmodel_operator.plan.rollout import comparison, facts, narrate, planner
from tfmodel_operator.plan.rollout.record import Bake, Candidate, Good, Quarantined, Record
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving import state
from tfmodel_serving.model_config import Latest, Specific

READY = {1: "AVAILABLE", 2: ""}
BOTH = {1: "AVAILABLE", 2: "AVAILABLE"}
GOOD = Good(frozenset({1}), {"stable": 1})


def told(wish, found):
    step = planner.plan_rollout(wish, found, NOW)
    return step, narrate.rollout(step, found, MODEL)


def kept(candidate=None, **given):
    moving = Candidate(candidate, NOW, NOW) if candidate else None
    return Record(GOOD, candidate=moving, **given)


def quarantined(cause, **given):
    return kept(quarantine=(Quarantined(2, cause, "it is so", **given),))


@pytest.mark.parametrize(
    ("wish", "found", "phase", "reason"),
    [
        pytest.param(desired(), seen(pod("a", {1: "AVAILABLE"})), Phase.COMPLETE, None, id="complete"),
        pytest.param(desired(), seen(pod("a", {1: "AVAILABLE", 2: "Incomplete"})), Phase.VERIFYING, Reason.VERSION_INCOMPLETE, id="verifying"),
        pytest.param(desired(), seen(pod("a", READY)), Phase.GROWING, Reason.ROLLING_OUT, id="growing"),
        pytest.param(desired(paused=True), seen(pod("a", READY)), Phase.PAUSED, Reason.PAUSED, id="paused"),
        pytest.param(desired(strategy=Strategy.RECREATE), seen(pod("a", READY)), Phase.REPLACING, Reason.ROLLING_OUT, id="replacing"),
        pytest.param(
            desired(approval=Approval.MANUAL), seen(pod("a", READY, alone={2: "LOADING"}), alone=2, kept=kept(2)),
            Phase.TRYING, Reason.ROLLING_OUT, id="on trial",
        ),
        pytest.param(
            desired(approval=Approval.MANUAL), seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=kept(2)),
            Phase.WAITING_FOR_APPROVAL, Reason.WAITING_FOR_APPROVAL, id="waits for approval",
        ),
        pytest.param(
            desired(bake_seconds=60), seen(pod("a", BOTH), versions={1, 2}, kept=Record(Good(frozenset({2})), bake=Bake(GOOD, NOW))),
            Phase.BAKING, Reason.ROLLING_OUT, id="bakes",
        ),
        pytest.param(desired(), seen(pod("a", READY), kept=quarantined("ModelLoadFailed")), Phase.ROLLED_BACK, Reason.MODEL_LOAD_FAILED, id="failed"),
        pytest.param(desired(), seen(pod("a", READY), kept=quarantined("ComparisonFailed")), Phase.ROLLED_BACK, Reason.COMPARISON_FAILED, id="differs"),
        pytest.param(
            desired(), seen(pod("a", READY), kept=quarantined("ProgressDeadlineExceeded")),
            Phase.ROLLED_BACK, Reason.PROGRESS_DEADLINE_EXCEEDED, id="late",
        ),
        pytest.param(desired(), seen(pod("a", READY), kept=quarantined("CrashLoopBackOff")), Phase.ROLLED_BACK, Reason.ROLLED_BACK, id="crashes"),
        pytest.param(desired(), seen(pod("a", READY), kept=quarantined("of another version")), Phase.ROLLED_BACK, Reason.ROLLED_BACK, id="unknown"),
        pytest.param(
            desired(on_failure=OnFailure.HOLD), seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=quarantined("ComparisonFailed", held=True)),
            Phase.HELD, Reason.COMPARISON_FAILED, id="held",
        ),
        pytest.param(
            desired(strategy=Strategy.ROLLING_UPDATE, comparison=Comparison(ComparisonPolicy.REQUIRE)), seen(pod("a", READY)),
            Phase.BLOCKED, Reason.INVALID_SPEC, id="blocked",
        ),
        pytest.param(desired(approval=Approval.MANUAL), facts.Facts(), Phase.STARTING, Reason.ROLLING_OUT, id="nothing serves yet"),
        pytest.param(desired(), facts.Facts(), Phase.STARTING, None, id="the agents choose"),
    ],
)  # fmt: skip
def test_every_phase_has_its_reason(wish, found, phase, reason):
    step, rollout = told(wish, found)
    assert step.phase is phase
    assert (rollout.finding.reason if rollout.finding else None) is reason
    assert rollout.says["rollout"]["phase"] == phase
    assert rollout.finding is None or rollout.finding.message in rollout.says["rollout"]["step"]


def test_only_what_somebody_has_to_mend_is_stalled():
    stalled = {phase for phase, reason in narrate._REASONS.items() if reason.severity is Severity.STALLED}
    assert stalled == {Phase.BLOCKED}
    assert all(reason.severity is Severity.STALLED for reason in narrate._CAUSES.values())


def test_scaled_to_zero_nothing_is_waited_for():
    none = facts.Server(0, "image-1", "image-1")
    assert told(desired(Specific((2,))), seen(server=none))[1].finding is None
    assert told(desired(), seen(server=none, kept=quarantined("ModelLoadFailed")))[1].finding, "a failed version is still told of"


def test_what_agents_have_compared_is_told_with_the_worst_numbers_of_all_pods():
    def compared(absolute, relative, same, median):
        output = state.OutputDifference("y", absolute, relative, same, 10)
        return state.Comparison(2, 1, 12, (output,), state.Latency(median, 0.02), state.Latency(0.001, 0.002))

    found = seen(
        pod("a", READY, alone={2: "AVAILABLE"}, comparison=compared(0.5, 0.01, 10, 0.003)),
        pod("b", READY, alone={2: "AVAILABLE"}, comparison=compared(0.25, 0.02, 9, 0.004)),
        alone=2, compare_with=1, kept=kept(2),
    )  # fmt: skip
    wish = desired(Latest(1), approval=Approval.MANUAL, comparison=Comparison(ComparisonPolicy.REPORT))
    step, rollout = told(wish, found)
    assert step.phase is Phase.WAITING_FOR_APPROVAL
    assert rollout.says["rollout"]["comparison"] == {
        "version": 2, "against": 1, "pods": 2, "records": 24,
        "candidateMedianMillis": "4", "candidateP99Millis": "20", "promotedMedianMillis": "1", "promotedP99Millis": "2",
        "outputs": [{"name": "y", "maxRelativeDifference": "0.02", "maxAbsoluteDifference": "0.5", "sameArgmax": "19/20"}],
    }  # fmt: skip
    other = dataclasses.replace(step, candidate=3)
    assert comparison.status(other, found, MODEL) == {}, "what an earlier candidate's was is of no interest"


def test_what_was_compared_is_told_when_the_trial_is_over_until_another_version_is_on_its_way():
    result = state.Comparison(2, 1, 12, tuple(state.OutputDifference(f"y{n}", 1.0, 0.5 - n / 100) for n in range(6)))
    trial = seen(pod("a", READY, alone={2: "AVAILABLE"}, comparison=result), alone=2, compare_with=1, kept=kept(2))
    wish = desired(Latest(1), comparison=Comparison(ComparisonPolicy.REPORT))
    step, rollout = told(wish, trial)
    assert (step.phase, rollout.says["rollout"]["comparison"]["records"]) == (Phase.GROWING, 12)
    grown = seen(pod("a", BOTH), versions={1, 2}, kept=step.record)
    comparisons = [told(wish, grown)[1].says["rollout"]["comparison"] for _ in range(2)]
    assert [output["name"] for output in comparisons[0]["outputs"]] == ["y0", "y1", "y2", "y3"], "the worst ones"
    moved_on = dataclasses.replace(step.record, candidate=Candidate(3, NOW, NOW))
    three = pod("a", {1: "AVAILABLE", 2: "AVAILABLE", 3: "LOADING"})
    assert "comparison" not in told(wish, seen(three, versions={1, 2, 3}, kept=moved_on))[1].says["rollout"]


def test_what_was_compared_is_told_while_the_candidate_is_held_for_it():
    result = state.Comparison(2, 1, 12, (state.OutputDifference("y", 1.0, 0.5),))
    trial = seen(pod("a", READY, alone={2: "AVAILABLE"}, comparison=result), alone=2, compare_with=1, kept=kept(candidate=2))
    wish = desired(Latest(1), comparison=Comparison(ComparisonPolicy.REQUIRE), on_failure=OnFailure.HOLD)
    step = planner.plan_rollout(wish, trial, NOW)
    assert step.config.on_trial == {2}
    held = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=step.record)
    for _ in range(2):
        step, rollout = told(wish, held)
        assert (step.phase, rollout.says["rollout"]["comparison"]["records"]) == (Phase.HELD, 12)
        held = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=step.record)


def test_why_nothing_could_be_compared_is_told():
    result = state.Comparison(2, 1, message="there are no\nwarmup records")
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}, comparison=result), alone=2, compare_with=1, kept=kept(2))
    step = planner.plan_rollout(desired(approval=Approval.MANUAL), found, NOW)
    said = {"version": 2, "against": 1, "pods": 1, "records": 0, "message": "there are no warmup records"}
    assert comparison.status(step, found, MODEL) == said, "and no latency of nothing"
