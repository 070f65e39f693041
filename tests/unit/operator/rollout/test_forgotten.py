"""The record is lost: what is promoted is read from what is published and served."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import BOTH, desired, kept, plan, pod, seen, silent
from tfmodel_operator.api.rollout_spec import Strategy
from tfmodel_operator.plan.rollout import facts
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving.model_config import All, Latest, Specific


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


def test_what_is_waited_for_before_a_lost_config_is_made_anew_is_told():
    moving = pod("a", {1: "AVAILABLE", 2: "LOADING"})
    moving = dataclasses.replace(moving, report=dataclasses.replace(moving.report, settled=False, step="half: version 2 is LOADING"))
    for found, says in [((moving, pod("b", {1: "AVAILABLE"})), "pod a: half: version 2 is LOADING"), ((silent(),), "pod b says nothing")]:
        assert plan(desired(), facts.Facts(pods=found)).reason == f"waiting for the pods to say what they serve: {says}"
