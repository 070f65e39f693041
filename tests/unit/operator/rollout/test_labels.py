"""Which versions stay and where labels are; pods and templates."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import BOTH, MODEL, NOW, READY, desired, kept, plan, pod, seen
from tfmodel_operator.api.rollout_spec import Approval, Strategy
from tfmodel_operator.plan.rollout import facts
from tfmodel_operator.plan.rollout.record import Candidate, Good, Record
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving import state
from tfmodel_serving.model_config import Latest, Specific

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
