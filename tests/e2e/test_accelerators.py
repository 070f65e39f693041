"""Scheduling on accelerators: the real scheduler, on a node that advertises devices it hasn't got."""

from __future__ import annotations

import datetime

import pytest

from tests.agent.load import Load
from tests.e2e.conftest import put
from tests.e2e.test_server_settings import IMAGE
from tests.e2e.test_serving import identity, server_pods
from tfmodel_operator.plan.update_strategy import PATIENCE_SECONDS

GPU = "nvidia.com/gpu"
SERVER = {"image": IMAGE, "resources": {"requests": {"cpu": "50m"}}, "accelerator": {}, "drainSeconds": 2}
INSTANCES, ANSWERS = [1.0, 2.0, 5.0], [2.5, 3.0, 4.5]
CHANGED = {**SERVER, "pod": {"env": [{"name": "TF_CPP_MIN_LOG_LEVEL", "value": "1"}]}}
"""The same server with another pod template."""


@pytest.fixture
def gpus(cluster):
    """Return what makes the node advertise so many GPUs; it has none again afterwards."""
    yield lambda count: cluster.set_extended_resource(GPU, count)
    cluster.set_extended_resource(GPU, 0)


@pytest.fixture
def bench(bench, half_plus_two):
    """A namespace with a claim that holds version 1; nothing of it holds a device afterwards."""
    put(bench.claim(), 1, half_plus_two)
    yield bench
    bench.kubectl("delete", "tfmodels", "--all")
    bench.cluster.wait_for("the devices to be free", lambda: bench.get("pods")["items"] == [], timeout=120)


def strategy(bench):
    return bench.get("deployment", "half")["spec"]["strategy"]["rollingUpdate"]


def waiting_seconds(bench):
    """Return for how long the scheduler has found no room for a pod."""
    (since,) = [
        datetime.datetime.fromisoformat(condition["lastTransitionTime"])
        for pod in server_pods(bench)
        for condition in pod["status"].get("conditions", [])
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    return (datetime.datetime.now(datetime.UTC) - since).total_seconds()


def unschedulable(bench):
    """Return the names of the pods that the scheduler finds no room for."""
    return [
        pod["metadata"]["name"]
        for pod in server_pods(bench)
        if any(c["type"] == "PodScheduled" and c["status"] == "False" for c in pod["status"].get("conditions", []))
    ]


def test_a_gpu_is_asked_for_and_the_taint_of_its_node_tolerated(bench, gpus):
    gpus(1)
    node = bench.cluster.node_name
    bench.kubectl("taint", "node", node, f"{GPU}=present:NoSchedule")
    try:
        bench.tfmodel(server=SERVER)
        found = bench.wait_ready()
    finally:
        bench.kubectl("taint", "node", node, f"{GPU}-")
    (pod,) = server_pods(bench)
    containers = {c["name"]: c["resources"] for c in pod["spec"]["containers"] + pod["spec"]["initContainers"]}
    assert containers["model-server"]["limits"] == {GPU: "1"}
    assert GPU not in containers["agent"].get("limits", {})
    assert pod["spec"]["containers"][0]["image"] == IMAGE, "an explicit image is left alone"
    assert found["status"]["server"]["accelerator"] == f"1 {GPU}"
    assert bench.answers(INSTANCES) == ANSWERS


def test_more_replicas_than_gpus_wait_in_the_schedulers_own_words_and_heal(bench, gpus):
    gpus(2)
    bench.tfmodel(server={**SERVER, "replicas": 3})
    bench.cluster.wait_for("two to serve", lambda: bench.get("deployment", "half")["status"].get("readyReplicas") == 2, timeout=120)
    message = bench.wait_reason("WaitingForAccelerator")
    (waiting,) = unschedulable(bench)
    conditions = {c["type"]: c for c in bench.get("pod", waiting)["status"]["conditions"]}
    assert conditions["PodScheduled"]["message"] in message
    assert f"1 Insufficient {GPU}" in message
    assert f"pod {waiting}" in message
    bench.cluster.wait_for("Available", lambda: bench.condition("Available")["status"] == "True")
    assert bench.answers(INSTANCES) == ANSWERS
    gpus(3)
    bench.wait_ready()
    assert server_pods(bench) != []
    assert unschedulable(bench) == []


@pytest.mark.timeout(400)
def test_a_new_template_on_full_gpus_surges_for_a_while_and_then_replaces_under_load(bench, gpus):
    gpus(2)
    bench.tfmodel(server={**SERVER, "replicas": 2})
    bench.wait_ready()
    bench.answers(INSTANCES)
    before = {pod["metadata"]["uid"] for pod in server_pods(bench)}
    assert strategy(bench) == {"maxSurge": 1, "maxUnavailable": 0}
    with Load(bench.address(), bench.address(port=8500), per_second=20) as clients:
        bench.tfmodel(server={**CHANGED, "replicas": 2})
        bench.wait_reason("WaitingForAccelerator")
        assert strategy(bench) == {"maxSurge": 1, "maxUnavailable": 0}, "an autoscaler may bring a node"
        bench.cluster.wait_for("an old pod to go first", lambda: strategy(bench)["maxSurge"] == 0, timeout=60)
        bench.cluster.wait_for(
            "two new pods", lambda: {pod["metadata"]["uid"] for pod in server_pods(bench)}, timeout=120,
            done=lambda uids: len(uids) == 2 and not uids & before,
        )  # fmt: skip
        bench.wait_ready()
    assert clients.failures == []
    bench.cluster.wait_for("the next change to surge", lambda: strategy(bench)["maxSurge"] == 1)
    bench.wait_ready()


@pytest.mark.timeout(400)
def test_a_new_template_of_a_single_replica_holds_and_the_way_on_that_status_names_works(bench, gpus):
    gpus(1)
    bench.tfmodel(server=SERVER)
    bench.wait_ready()
    bench.answers(INSTANCES)
    before = identity(server_pods(bench))
    bench.tfmodel(server=CHANGED)
    message = bench.wait_reason("WaitingForAccelerator")
    assert "until then the pods of the old template go on serving" in message
    assert "updateStrategy ReplaceFirst or Recreate" in message
    bench.cluster.wait_for("a surge of two replicas to have been given up", lambda: waiting_seconds(bench) > PATIENCE_SECONDS + 5)
    assert before <= identity(server_pods(bench))
    assert strategy(bench) == {"maxSurge": 1, "maxUnavailable": 0}
    assert bench.condition("Available")["status"] == "True"
    assert bench.predict(INSTANCES) == ANSWERS
    bench.tfmodel(server={**CHANGED, "updateStrategy": "Recreate"})
    bench.wait_ready()
    assert not before & identity(server_pods(bench))
    assert bench.answers(INSTANCES) == ANSWERS
