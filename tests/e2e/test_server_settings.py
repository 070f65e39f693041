"""Settings of the model server, as a real node and a model server take them."""

from __future__ import annotations

import urllib.error

import pytest

from tests.e2e.conftest import put
from tests.e2e.test_serving import KILL_MODEL_SERVER, identity, server_pods

IMAGE = "tensorflow/serving:2.19.1"
CPU = {"requests": {"cpu": "50m"}}


@pytest.fixture
def claim(bench, half_plus_two):
    bench.directory = bench.claim()
    put(bench.directory, 1, half_plus_two)
    return bench


def test_batching_reaches_the_server(claim):
    claim.tfmodel(server={"resources": CPU, "batching": {"maxBatchSize": 2}, "drainSeconds": 2})
    claim.wait_ready()
    assert claim.answers([1.0, 2.0]) == [2.5, 3.0]
    with pytest.raises(urllib.error.HTTPError) as refused:
        claim.predict([1.0, 2.0, 5.0])
    assert "larger than maximum input batch size 2" in refused.value.read().decode()


def test_a_label_leads_to_its_version(claim, half_plus_two):
    put(claim.directory, 2, half_plus_two)
    claim.tfmodel(server={"resources": CPU}, versionPolicy={"all": {}}, versionLabels={"stable": 1})
    claim.wait_ready()
    claim.answers([1.0])
    assert claim.cluster.wait_for("the label", lambda: claim.predict([1.0], model="half/labels/stable"), timeout=20) == [2.5]


def test_a_server_that_is_to_be_replaced_restarts_as_it_was(claim):
    """One device, one pod: the pod of a new template can't be scheduled, and the old one must live for as long as that takes."""
    (node,) = claim.cluster.get("nodes")["items"]
    claim.cluster.set_extended_resource("nvidia.com/gpu", 1, node["metadata"]["name"])
    server = {"image": IMAGE, "resources": CPU, "accelerator": {}, "drainSeconds": 2}
    claim.tfmodel(server={**server, "batching": {"maxBatchSize": 2}})
    claim.wait_ready()
    (old,) = server_pods(claim)
    claim.tfmodel(server=server)
    claim.cluster.wait_for("the new pod to wait for a device", lambda: len(server_pods(claim)) == 2)
    name = old["metadata"]["name"]
    claim.kubectl("exec", name, "-c", "agent", "--", "python", "-c", KILL_MODEL_SERVER)
    claim.cluster.wait_for("a restart", lambda: claim.get("pod", name)["status"]["containerStatuses"][0]["restartCount"] >= 1)
    assert claim.answers([1.0, 2.0]) == [2.5, 3.0]
    claim.cluster.set_extended_resource("nvidia.com/gpu", 2, node["metadata"]["name"])
    claim.cluster.wait_for("the new pod alone", lambda: [p["metadata"]["name"] for p in server_pods(claim)], done=lambda pods: len(pods) == 1 and name not in pods)
    claim.wait_ready()
    assert claim.answers([1.0, 2.0, 5.0]) == [2.5, 3.0, 4.5]
    claim.cluster.set_extended_resource("nvidia.com/gpu", 0, node["metadata"]["name"])


def test_an_autoscaler_of_the_deployment_is_left_alone(claim):
    claim.tfmodel(server={"resources": CPU, "drainSeconds": 2})
    claim.wait_ready()
    before = identity(server_pods(claim))
    claim.kubectl("scale", "deployment/half", "--replicas=2")
    claim.cluster.wait_for("two pods", lambda: claim.get("deployment", "half")["status"].get("readyReplicas") == 2)
    claim.kubectl("patch", "tfmodel/half", "--type=merge", "-p", '{"spec": {"server": {"service": {"annotations": {"a": "b"}}}}}')
    claim.cluster.wait_for("the Service", lambda: claim.get("service", "half")["metadata"]["annotations"].get("a") == "b")
    assert claim.get("deployment", "half")["spec"]["replicas"] == 2
    assert before <= identity(server_pods(claim))
