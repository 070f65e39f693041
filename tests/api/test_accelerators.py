"""Larger shapes of accelerators: fake nodes under the real scheduler; no agent is behind their pods."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import Operator, install_crds
from tests.cluster import EmbeddedCluster

NODES, GPUS = 50, 8
GPU, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"


@pytest.fixture(scope="module")
def cluster():
    """50 nodes of 8 GPUs each, all tainted as clouds do it; one of them also has 7 slices of a GPU."""
    with EmbeddedCluster(nodes="kwok", node_count=NODES) as made:
        names = [f"kwok-{number}" for number in range(NODES)]
        status = {kind: {GPU: str(GPUS)} for kind in ("capacity", "allocatable")}
        made.kubectl("patch", "node", *names, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        made.kubectl("taint", "node", *names, f"{GPU}=present:NoSchedule")
        made.kubectl("taint", "node", names[0], f"{GPU}-")
        made.set_extended_resource(SLICE, 7, names[0])
        install_crds(made)
        yield made


@pytest.fixture(scope="module", autouse=True)
def operator(cluster):
    running = Operator(cluster)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def namespace(cluster, namespace):
    """A namespace with a bound claim: the scheduler looks for that first."""
    capacity, modes = {"storage": "1Gi"}, ["ReadOnlyMany"]
    where = {"claimRef": {"namespace": namespace, "name": "models"}, "hostPath": {"path": "/nowhere"}}
    cluster.apply(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": {"capacity": capacity, "accessModes": modes, **where}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": namespace},
            "spec": {"accessModes": modes, "resources": {"requests": capacity}, "storageClassName": ""},
        },
    )
    cluster.wait_for("the claim to be bound", lambda: cluster.get("-n", namespace, "pvc", "models")["status"].get("phase") == "Bound")
    return namespace


def bound(cluster, namespace, server):
    """Return the nodes that the pods of a server are on; None for a pod without one."""
    pods = cluster.get("-n", namespace, "pods", "-l", f"serving.tfmodel.dev/server={server}")["items"]
    return [pod["spec"].get("nodeName") for pod in pods]


def ready(cluster, namespace, name):
    found = cluster.get("-n", namespace, "tfmodel", name)["status"]
    return next((c for c in found.get("conditions", []) if c["type"] == "Ready"), {"reason": "", "message": ""})


def test_whole_nodes_of_gpus_are_filled_and_the_next_pod_waits_until_one_is_free(cluster, tfmodel, namespace):
    cluster.apply(tfmodel("fleet", server={"accelerator": {"count": GPUS}, "replicas": NODES}))
    cluster.wait_for("a pod on every node", lambda: set(bound(cluster, namespace, "fleet")), done=lambda nodes: len(nodes - {None}) == NODES)
    cluster.apply(tfmodel("late", server={"accelerator": {}}))
    found = cluster.wait_for(
        "the late one to wait", lambda: ready(cluster, namespace, "late"), done=lambda c: c["reason"] == "WaitingForAccelerator"
    )  # fmt: skip
    assert f"0/{NODES} nodes are available: {NODES} Insufficient {GPU}" in found["message"]
    cluster.kubectl("-n", namespace, "scale", "tfmodel/fleet", f"--replicas={NODES - 1}")
    cluster.wait_for("the late one to have a node", lambda: all(bound(cluster, namespace, "late")) and bound(cluster, namespace, "late"))
    cluster.wait_for("status to say so", lambda: ready(cluster, namespace, "late")["reason"] != "WaitingForAccelerator")
    cluster.kubectl("-n", namespace, "delete", "tfmodel", "--all")
    cluster.wait_for("the devices to be free", lambda: cluster.get("-n", namespace, "pods")["items"] == [])


def test_slices_of_a_gpu_are_scheduled_by_their_own_name(cluster, tfmodel, namespace):
    cluster.apply(tfmodel("sliced", server={"accelerator": {"resource": SLICE}, "replicas": 9}))
    nodes = cluster.wait_for(
        "seven to be placed", lambda: bound(cluster, namespace, "sliced"), done=lambda nodes: len(nodes) == 9 and nodes.count(None) == 2
    )  # fmt: skip
    assert set(nodes) == {"kwok-0", None}
    found = cluster.wait_for(
        "both others to wait", lambda: ready(cluster, namespace, "sliced"), done=lambda c: "(and 1 more pods)" in c["message"]
    )  # fmt: skip
    assert found["reason"] == "WaitingForAccelerator"
    assert f"Insufficient {SLICE}" in found["message"]
    deployment = cluster.get("-n", namespace, "deployment", "sliced")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith("-gpu")
