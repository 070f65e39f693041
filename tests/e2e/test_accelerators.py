"""Accelerators on a node that says it has some: scheduling, waiting, and updates where all of them are in use."""

from __future__ import annotations

import datetime

import pytest

from tests.agent.load import Load
from tests.e2e.conftest import put
from tests.e2e.test_serving import server_pods

GPU = "nvidia.com/gpu"
SMALL = {"accelerator": {}, "drainSeconds": 2, "resources": {"requests": {"cpu": "20m"}}}


@pytest.fixture
def gpus(cluster):
    """Say how many GPUs the node has; none are left afterwards."""

    def have(count):
        cluster.set_extended_resource(GPU, count)

    yield have
    have(0)


@pytest.fixture
def model(bench, half_plus_two):
    bench.directory = bench.claim()
    put(bench.directory, 1, half_plus_two)
    return bench


def changed(cpu="21m", **given):
    """SMALL with another template."""
    return {**SMALL, "resources": {"requests": {"cpu": cpu}}, **given}


def names(bench):
    return {pod["metadata"]["name"] for pod in server_pods(bench)}


def replaced(bench, old, replicas):
    """Wait until none of the old pods is left, and the new ones are Ready."""
    bench.cluster.wait_for("the new pods alone", lambda: names(bench), 180, done=lambda now: len(now) == replicas and not now & old)
    return bench.wait_ready(timeout=180)


def test_a_gpu_is_given_and_told(model, gpus):
    gpus(2)
    model.tfmodel(server=SMALL)
    found = model.wait_ready()
    assert found["status"]["server"]["accelerator"] == f"1 {GPU}"
    assert found["status"]["server"]["image"] == "tensorflow/serving:2.19.1-gpu"
    (pod,) = server_pods(model)
    assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"
    assert any(toleration.get("key") == GPU for toleration in pod["spec"]["tolerations"])
    assert model.answers([1.0]) == [2.5]
    header, row = model.kubectl("get", "tfm", "-o", "wide").splitlines()
    assert "ACCELERATOR" in header
    assert f"1 {GPU}" in row


def test_a_pod_that_finds_no_gpu_is_told_in_the_schedulers_words_and_heals(model, gpus):
    gpus(2)
    model.tfmodel(server={**SMALL, "replicas": 3})
    message = model.wait_reason("WaitingForAccelerator", timeout=120)
    assert f"0/1 nodes are available: 1 Insufficient {GPU}" in message
    assert "add a node that has one" in message
    assert "spec.server.replicas" in message
    model.cluster.wait_for("the others to serve", lambda: model.condition("Available"), 120, done=lambda c: c.get("status") == "True")
    assert model.wait_reason("WaitingForAccelerator")  # still: the others are ready, and that isn't what was asked for
    gpus(3)
    assert model.wait_ready(timeout=180)["status"]["server"]["pods"] == "3/3"


def test_an_update_on_full_gpus_replaces_pods_one_by_one_and_fails_no_request(model, gpus):
    gpus(2)
    model.tfmodel(server={**SMALL, "replicas": 2})
    model.wait_ready(timeout=180)
    model.answers([1.0])
    old = names(model)
    with Load(model.address(), model.address(port=8500), per_second=20) as clients:
        model.tfmodel(server=changed(replicas=2))
        message = model.wait_reason("WaitingForAccelerator", timeout=60)
        assert "the pods of the old template go on serving" in message
        assert model.get("deployment", "half")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert old < names(model), "a surge is tried first"
        replaced(model, old, 2)
    assert clients.failures == []
    assert clients.answers > 500
    model.cluster.wait_for(
        "the next update to try a surge first", lambda: model.get("deployment", "half")["spec"]["strategy"]["rollingUpdate"],
        done=lambda strategy: strategy == {"maxSurge": 1, "maxUnavailable": 0},
    )  # fmt: skip


def test_one_pod_on_one_gpu_is_never_taken_down_by_itself(model, gpus):
    gpus(1)
    model.tfmodel(server=SMALL)
    model.wait_ready()
    model.answers([1.0])
    old = names(model)
    model.tfmodel(server=changed())
    since = model.wait_reason("WaitingForAccelerator", timeout=60)
    assert "the pods of the old template go on serving" in since
    (waiting,) = names(model) - old

    def patience_is_over():
        """Longer than the 30 s after which two pods would be replaced one by one."""
        transition = next(c for c in model.get("pod", waiting)["status"]["conditions"] if c["type"] == "PodScheduled")["lastTransitionTime"]
        return age(transition) > 40

    model.cluster.wait_for("more than the patience", patience_is_over, timeout=90)
    assert old < names(model)
    assert model.predict([1.0]) == [2.5]
    assert model.condition("Available")["status"] == "True"
    model.kubectl("patch", "deployment", "half", "--type=merge", "-p", '{"spec": {"progressDeadlineSeconds": 5}}')
    stalled = model.cluster.wait_for("Stalled", lambda: model.condition("Stalled"), 60)
    assert stalled["reason"] == "WaitingForAccelerator"
    assert "has timed out progressing" in stalled["message"]
    gpus(2)
    replaced(model, old, 1)
    assert model.condition("Stalled") == {}


def test_one_pod_on_one_gpu_is_replaced_if_the_user_says_so(model, gpus):
    gpus(1)
    model.tfmodel(server=SMALL)
    model.wait_ready()
    old = names(model)
    model.tfmodel(server=changed(updateStrategy="Recreate"))
    replaced(model, old, 1)


def age(timestamp):
    """Return for how many seconds something has been so."""
    then = datetime.datetime.fromisoformat(timestamp)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()
