"""What is promoted can't be had any more: clients get what else there is, and nothing is taken away that somebody has."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import MODEL, NOW, desired, pod, seen, silent
from tfmodel_operator.api.rollout_spec import Strategy
from tfmodel_operator.plan.rollout import fleet, planner, wanted
from tfmodel_operator.plan.rollout.record import Candidate, Good, Record
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving import state
from tfmodel_serving.model_config import All, Latest, Specific


def unready(name, versions, **given):
    return pod(name, versions, ready=False, **given)


def plan(policy, pods, kept=None, now=NOW, **given):
    return planner.plan_rollout(desired(policy, progress_deadline_seconds=60, **given), seen(*pods, versions={1, 2}, kept=kept), now)


@pytest.mark.parametrize(
    ("pods", "labels"),
    [
        pytest.param([unready("a", {1: "AVAILABLE", 2: "failed"})], {}, id="it fails in the only pod"),
        pytest.param([unready("a", {1: "AVAILABLE", 2: "Incomplete"})], {}, id="its files are written anew"),
        pytest.param([unready("a", {1: "AVAILABLE", 2: ""}, extra={2: {"crashes": 3}})], {}, id="the server dies of it"),
        pytest.param([unready("a", {1: "AVAILABLE", 2: ""}, extra={2: {"crashes": 1}})], {"stable": 2}, id="it has died once"),
        pytest.param([unready("a", {1: "AVAILABLE", 2: "LOADING"})], {"stable": 2}, id="it is loading"),
        pytest.param([unready("a", {1: "AVAILABLE", 2: ""})], {"stable": 2}, id="it is about to load"),
        pytest.param([unready("a", {1: "LOADING", 2: "failed"})], {"stable": 2}, id="nothing else is there"),
        pytest.param(
            [unready("a", {1: "AVAILABLE", 2: "failed"}), unready("b", {1: "AVAILABLE", 2: "LOADING"})], {"stable": 2},
            id="another pod may have it soon",
        ),
        pytest.param(
            [unready("a", {1: "AVAILABLE", 2: "failed"}), pod("b", {1: "AVAILABLE", 2: "AVAILABLE"})], {"stable": 2},
            id="another pod serves",
        ),
    ],
)  # fmt: skip
def test_a_label_that_keeps_all_pods_out_is_taken_away(pods, labels):
    for paused in (False, True):
        assert plan(All(), pods, paused=paused).config.labels == labels


def test_once_it_can_be_had_again_the_label_is_back():
    lost = plan(All(), [unready("a", {1: "AVAILABLE", 2: "failed"})])
    found = seen(pod("a", {1: "AVAILABLE", 2: "AVAILABLE"}), versions={1, 2}, kept=lost.record)
    assert planner.plan_rollout(desired(All()), found, NOW).config.labels == {"stable": 2}


def with_gone(one):
    """Version 1 serves, and its directory is gone."""
    (model,) = one.report.models
    model = dataclasses.replace(model, versions=(state.VersionState(1, "Missing", "AVAILABLE"), *model.versions))
    return dataclasses.replace(one, report=dataclasses.replace(one.report, models=(model,)))


GROWING = Record(Good(frozenset({1}), {"stable": 1}), candidate=Candidate(2, NOW, NOW))


@pytest.mark.parametrize("lost", ["failed", "Incomplete", "Rejected", "Missing"])
def test_a_candidate_is_promoted_without_what_no_pod_can_have(lost):
    """To give it up would leave clients nothing."""
    step = plan(All(), [pod("a", {1: lost, 2: "AVAILABLE"}), pod("b", {1: lost, 2: "AVAILABLE"})], GROWING, now=NOW + 100)
    assert (step.phase, step.promoted, step.config.versions) == (Phase.SETTLING, 2, {2})


def test_a_candidate_is_promoted_without_what_is_gone_and_some_pod_lacks():
    """A label that is still on it, because it can't move, is no reason to wait for ever."""
    pods = [pod("a", {1: "Missing", 2: "AVAILABLE"}), with_gone(pod("b", {2: "AVAILABLE"}))]
    step = plan(All(), pods, GROWING, labels={"stable": 9})
    assert (step.phase, step.promoted, step.config.versions) == (Phase.SETTLING, 2, {2})


@pytest.mark.parametrize(
    ("pods", "phase"),
    [
        pytest.param([], Phase.REPLACING, id="all pods are being replaced"),
        pytest.param([unready("a", {})], Phase.REPLACING, id="a new one has not looked yet"),
        pytest.param([unready("a", {3: "Missing", 2: "LOADING", 1: "LOADING"})], Phase.REPLACING, id="it is lost"),
        pytest.param([unready("a", {3: "LOADING", 2: "LOADING", 1: "LOADING"})], Phase.ROLLING_BACK, id="it is back"),
    ],
)
def test_what_was_lost_before_all_pods_were_replaced_makes_no_candidate_superfluous(pods, phase):
    """Else all pods would be replaced again and again: 3 is gone, so 1 is wanted; with nobody to say so, it wasn't."""
    kept = Record(Good(frozenset({2, 3}), {"stable": 3}), candidate=Candidate(1, NOW, NOW))
    found = seen(*pods, versions={1, 2, 3}, kept=kept)
    found = dataclasses.replace(found, published=dataclasses.replace(found.published, immutable=True))
    step = planner.plan_rollout(desired(Latest(2), strategy=Strategy.RECREATE), found, NOW)
    assert step.phase is phase


@pytest.mark.parametrize(
    ("pods", "phase", "served"),
    [
        pytest.param([pod("a", {1: "AVAILABLE", 2: "AVAILABLE"})], Phase.ROLLING_BACK, {1}, id="what is promoted is there"),
        pytest.param([pod("a", {1: "LOADING", 2: "AVAILABLE"})], Phase.ROLLING_BACK, {1, 2}, id="it comes back"),
        pytest.param(
            [pod("a", {1: "failed", 2: "AVAILABLE"}), pod("b", {1: "AVAILABLE", 2: "AVAILABLE"})], Phase.ROLLING_BACK, {1},
            id="one pod can't load it, and its agent keeps what it has: a version that mends it must not be held up",
        ),
        pytest.param([pod("a", {1: "AVAILABLE", 2: "AVAILABLE"}), silent()], Phase.ROLLING_BACK, {1, 2}, id="one pod says nothing"),
        pytest.param([pod("a", {1: "Missing", 2: "AVAILABLE"})], Phase.SETTLING, {2}, id="it is gone"),
        pytest.param(
            [pod("a", {1: "Missing", 2: "AVAILABLE"}), pod("b", {1: "Missing", 2: "LOADING"})], Phase.SETTLING, {2},
            id="it is gone, and the other one is on its way in the pod that has nothing",
        ),
        pytest.param(
            [pod("a", {1: "Missing", 2: "AVAILABLE"}), pod("b", {1: "Missing", 2: "failed"})], Phase.SETTLING, {2},
            id="it is gone, and a pod has neither",
        ),
        pytest.param(
            [pod("a", {1: "Missing", 2: "AVAILABLE"}), with_gone(pod("b", {2: "LOADING"}))], Phase.ROLLING_BACK, {1, 2},
            id="its files are gone, and one pod has it and the other pod the other one",
        ),
        pytest.param([pod("a", {1: "Missing", 2: "LOADING"})], Phase.ROLLING_BACK, {1}, id="nothing serves"),
    ],
)  # fmt: skip
def test_what_is_no_longer_wanted_stays_where_nothing_else_serves(pods, phase, served):
    """Else clients of a pod that has only the candidate, which Git doesn't ask for any more, would get nothing."""
    step = plan(Specific((1, 3)), pods, GROWING)
    assert (step.phase, step.config.versions) == (phase, served)


def test_what_has_failed_stays_until_the_pods_that_have_nothing_else_have_what_is_promoted():
    """A server was restarted while the candidate loaded elsewhere, and its deadline ran out."""
    pods = [pod("a", {1: "AVAILABLE", 2: "LOADING"}), pod("b", {1: "LOADING", 2: "AVAILABLE"})]
    step = plan(Latest(1), pods, GROWING, now=NOW + 100)
    assert (step.phase, step.config.versions, step.record.quarantine) == (Phase.ROLLING_BACK, {1, 2}, ())
    pods[1] = pod("b", {1: "AVAILABLE", 2: "AVAILABLE"})
    step = plan(Latest(1), pods, GROWING, now=NOW + 100)
    assert (step.phase, step.config.versions) == (Phase.ROLLING_BACK, {1})
    assert step.record.quarantined(2)


def test_a_version_that_is_gone_is_lost_whether_or_not_a_pod_joins_that_says_nothing_of_it():
    """Else pods of its successor were begun and given up by turns: with such a pod, 1 was not lost any more."""
    pods = [with_gone(pod("a", {2: "AVAILABLE"})), pod("b", {1: "Missing", 2: "AVAILABLE"})]
    for joining in ((), (unready("c", {2: "Incomplete"}),)):
        assert wanted.lost(1, fleet.Fleet(MODEL, "now", (*pods, *joining)))
    assert not wanted.lost(1, fleet.Fleet(MODEL, "now", (*pods, unready("c", {1: "LOADING"}))))


def test_what_another_pod_has_is_waited_for():
    step = plan(All(), [pod("a", {1: "failed", 2: "AVAILABLE"}), pod("b", {1: "AVAILABLE", 2: "AVAILABLE"})], GROWING)
    assert (step.phase, step.promoted, step.config.versions) == (Phase.GROWING, 1, {1, 2})


def test_what_differs_between_pods_is_named_while_nothing_is_promoted():
    found = seen(pod("a", {1: "AVAILABLE"}), pod("b", {2: "AVAILABLE"}), good=set())
    chooses = dataclasses.replace(found.published, config=dataclasses.replace(found.published.config, served=Latest(1)))
    step = planner.plan_rollout(desired(), dataclasses.replace(found, published=chooses), NOW)
    assert step.reason.startswith("nothing is promoted yet, clients get versions 1, 2: ")
