"""Larger shapes: 50 nodes with 8 GPUs each, and slices of them, under the real scheduler. Nothing runs on these nodes."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.api.conftest import Operator, install_crds
from tests.cluster import EmbeddedCluster

NODES = 50
GPU, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"


@pytest.fixture(scope="module")
def cluster():
    """Nodes without a kubelet: pods are scheduled to them and wait."""
    with EmbeddedCluster() as made:
        install_crds(made)
        made.kubectl("create", "namespace", "ml")
        made.apply(*claim())
        made.kubectl("create", "-f", "-", input=nodes())
        running = Operator(made)
        yield made
        assert running.stop() == 0


def nodes(slices=1):
    """All nodes with a fresh heartbeat, the first ``slices`` of them with slices; without one they would be shunned after a while."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    heartbeat = {"lastHeartbeatTime": now, "lastTransitionTime": now, "reason": "KubeletReady", "message": "it only says so"}

    def node(number):
        capacity = {"cpu": "64", "memory": "256Gi", "pods": "110", GPU: "8", **({SLICE: "7"} if number < slices else {})}
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [{"type": "Ready", "status": "True", **heartbeat}]}
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"gpu-{number}"}, "status": status}

    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [node(number) for number in range(NODES)]})


def heartbeat(cluster, slices=1):
    cluster.kubectl("replace", "--subresource=status", "-f", "-", input=nodes(slices))


def claim():
    shared = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    about = {"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": "ml", "name": "models"}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "models"}, "spec": {**shared, **about}}
    asked = {**shared, "volumeName": "models", "resources": {"requests": {"storage": "1Gi"}}}
    return volume, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": "ml"}, "spec": asked}


def tfmodel(name, replicas, **accelerator):
    source = {"persistentVolumeClaim": {"claimName": "models", "path": name}}
    spec = {"source": source, "server": {"replicas": replicas, "accelerator": accelerator, "resources": {"requests": {"cpu": "1"}}}}
    return {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModel", "metadata": {"name": name, "namespace": "ml"}, "spec": spec}


def nodes_of(cluster, name):
    pods = cluster.get("-n", "ml", "pods", "-l", f"serving.tfmodel.dev/server={name}")["items"]
    return [pod["spec"].get("nodeName") for pod in pods]


def ready(cluster, name):
    found = cluster.get("-n", "ml", "tfmodel", name)
    current = found["status"]["observedGeneration"] == found["metadata"]["generation"]
    return next(c for c in found["status"]["conditions"] if c["type"] == "Ready") if current else {}


def waits(cluster, name):
    def look():
        heartbeat(cluster)
        return ready(cluster, name)

    return cluster.wait_for(f"{name} to wait", look, 60, done=lambda found: found.get("reason") == "WaitingForAccelerator")["message"]


@pytest.mark.timeout(300)
def test_whole_nodes_and_slices(cluster):
    cluster.apply(tfmodel("large", NODES, count=8), tfmodel("sliced", 7, resource=SLICE))
    cluster.wait_for("one pod on every node", lambda: nodes_of(cluster, "large"), 90, done=lambda on: None not in on and len(set(on)) == NODES)
    cluster.wait_for("slices of the first node", lambda: nodes_of(cluster, "sliced"), 90, done=lambda on: on == ["gpu-0"] * 7)
    assert ready(cluster, "large")["reason"] == "WaitingForPods"

    cluster.kubectl("-n", "ml", "scale", "tfmodel/large", f"--replicas={NODES + 1}")
    assert f"0/{NODES} nodes are available: {NODES} Insufficient {GPU}" in waits(cluster, "large")
    cluster.kubectl("-n", "ml", "scale", "tfmodel/sliced", "--replicas=8")
    assert f"Insufficient {SLICE}" in waits(cluster, "sliced")
    assert cluster.get("-n", "ml", "tfmodel", "sliced")["status"]["server"]["accelerator"] == f"1 {SLICE}"

    heartbeat(cluster, slices=2)
    cluster.wait_for("a slice of the second node", lambda: "gpu-1" in nodes_of(cluster, "sliced"), 60)
    cluster.wait_for("no more waiting", lambda: ready(cluster, "sliced").get("reason"), 60, done=lambda reason: reason == "WaitingForPods")
