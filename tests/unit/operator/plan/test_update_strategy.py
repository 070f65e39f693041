"""How pods are replaced: never for ever onto accelerators that aren't there, and never the last one that serves."""

from __future__ import annotations

import copy
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.makers import NOW, tfmodel
from tfmodel_operator.api import labels
from tfmodel_operator.plan import update_strategy
from tfmodel_operator.plan.update_strategy import RECREATE, REPLACE_FIRST, SURGE_FIRST

SCHEDULER = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available"


def server(accelerator=True, **given):
    return tfmodel(server={**({"accelerator": {}} if accelerator else {}), **given}).server


def live(replicas=2, strategy=SURGE_FIRST):
    return {"metadata": {}, "spec": {"replicas": replicas, "strategy": copy.deepcopy(strategy)}}


def pod(template="new", waiting=None, message=SCHEDULER, reason="Unschedulable", replica_set="1", **metadata):
    conditions = []
    if waiting is not None:
        since = (NOW - datetime.timedelta(seconds=waiting)).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastTransitionTime": since}]
    marks = {labels.TEMPLATE: template} if template else {}
    own = {"annotations": marks, "labels": {"pod-template-hash": replica_set}}
    return {"metadata": {**own, **metadata}, "status": {"conditions": conditions}}


def since_nobody_knows_when(stuck):
    found = copy.deepcopy(stuck)
    found["status"]["conditions"][0]["lastTransitionTime"] = None
    return found


OLD = pod("old")
STUCK = pod(waiting=31)
RESTARTED = pod(waiting=31, replica_set="2")


@pytest.mark.parametrize(
    ("given", "deployment", "pods", "expected"),
    [
        pytest.param({"accelerator": False}, live(), [OLD, STUCK], SURGE_FIRST, id="no accelerator: there is room"),
        pytest.param({}, None, [], SURGE_FIRST, id="nothing exists yet"),
        pytest.param({}, live(), [OLD, OLD], SURGE_FIRST, id="a rollout begins with a surge"),
        pytest.param({}, live(), [OLD, OLD, pod()], SURGE_FIRST, id="the surge found a device"),
        pytest.param({}, live(), [OLD, OLD, pod(waiting=29)], SURGE_FIRST, id="the surge has waited for less than 30 s"),
        pytest.param({}, live(), [OLD, OLD, pod(waiting=30)], REPLACE_FIRST, id="the surge has waited for 30 s"),
        pytest.param({}, live(replicas=1), [OLD, pod(waiting=3000)], SURGE_FIRST, id="one replica: the old pod serves on"),
        pytest.param({}, live(replicas=3), [STUCK, pod(), pod()], SURGE_FIRST, id="no old pod: it is no rollout"),
        pytest.param({}, live(), [OLD, OLD, pod(waiting=99, message="3 Insufficient cpu")], SURGE_FIRST, id="other things don't suffice"),
        pytest.param({}, live(), [OLD, OLD, pod(waiting=99, message=SCHEDULER.replace("gpu", "mig-1g.10gb"))], SURGE_FIRST, id="another device doesn't suffice"),
        pytest.param({}, live(), [OLD, OLD, pod(waiting=99, reason="SchedulingGated")], SURGE_FIRST, id="a gate holds it"),
        pytest.param({}, live(), [pod("old", waiting=99), OLD, pod()], SURGE_FIRST, id="an old pod waits, the new one runs"),
        pytest.param({}, live(), [OLD, OLD, pod(waiting=99, deletionTimestamp="x")], SURGE_FIRST, id="the surge is on its way out"),
        pytest.param({}, live(), [pod(None), pod(None), STUCK], REPLACE_FIRST, id="old pods of before templates had hashes"),
        pytest.param({}, live(), [pod(), pod(), RESTARTED], REPLACE_FIRST, id="kubectl rollout restart, and no device for it"),
        pytest.param({}, live(strategy=REPLACE_FIRST), [pod(), pod(replica_set="2")], REPLACE_FIRST, id="a restart under way goes on"),
        pytest.param({}, live(1), [pod(), RESTARTED], SURGE_FIRST, id="kubectl rollout restart of one replica"),
        pytest.param({}, live(), [OLD, OLD, since_nobody_knows_when(STUCK)], SURGE_FIRST, id="another scheduler says no time"),
        pytest.param({}, live(strategy=REPLACE_FIRST), [OLD, pod()], REPLACE_FIRST, id="what is under way goes on"),
        pytest.param({}, live(strategy=REPLACE_FIRST), [pod(), pod()], SURGE_FIRST, id="it is over"),
        pytest.param({"updateStrategy": "SurgeFirst"}, live(), [OLD, OLD, STUCK], SURGE_FIRST, id="asked for: SurgeFirst"),
        pytest.param({"updateStrategy": "ReplaceFirst"}, live(1), [OLD], REPLACE_FIRST, id="asked for: ReplaceFirst"),
        pytest.param({"updateStrategy": "Recreate"}, live(), [OLD], RECREATE, id="asked for: Recreate"),
        pytest.param({"updateStrategy": "ReplaceFirst", "accelerator": False}, None, [], REPLACE_FIRST, id="asked for, without accelerator"),
    ],
)
def test_choice(given, deployment, pods, expected):
    assert update_strategy.choose(server(**given), deployment, pods, "new", NOW).strategy == expected


def test_the_moment_of_the_next_choice_is_known():
    def again(*pods, replicas=2):
        return update_strategy.choose(server(), live(replicas), pods, "new", NOW).again_in_seconds

    assert again(OLD, OLD, pod(waiting=12)) == 18
    assert again(OLD, OLD, pod(waiting=12), pod(waiting=20)) == 10
    assert again(OLD, OLD, STUCK) is None
    assert again(OLD, OLD) is None
    assert again(OLD, pod(waiting=12), replicas=1) is None


PODS = st.lists(
    st.builds(pod, st.sampled_from(["old", "new", None]), st.none() | st.integers(0, 90), replica_set=st.sampled_from("12")), max_size=6
)


@given(st.integers(0, 4), st.sampled_from([SURGE_FIRST, REPLACE_FIRST]), PODS)
def test_auto_never_stops_the_last_pod_and_ends_with_a_surge(replicas, strategy, pods):
    choice = update_strategy.choose(server(), live(replicas, strategy), pods, "new", NOW)
    if choice.strategy == REPLACE_FIRST:
        replica_sets = {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods}
        assert len(replica_sets) > 1 or any(pod["metadata"]["annotations"].get(labels.TEMPLATE) != "new" for pod in pods)
        assert replicas >= 2 or strategy == REPLACE_FIRST
    later = update_strategy.choose(server(), live(replicas, choice.strategy), pods, "new", NOW + datetime.timedelta(hours=1))
    if choice.strategy == REPLACE_FIRST:
        assert later.strategy == REPLACE_FIRST
    if choice.again_in_seconds is not None:
        assert later.strategy != choice.strategy
