"""What happens to a served model while people and machines work on the cluster around it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.agent.load import Load
from tests.cluster.errors import CommandFailed
from tests.demo import kube
from tests.e2e.conftest import SYSTEM, Bench, install, put
from tests.e2e.test_serving import ANSWERS, INSTANCES, identity, served, server_pods

__all__ = ["served"]
OURS = ("-l", "serving.tfmodel.dev/server=half")
CHILDREN = "configmaps,services,deployments,networkpolicies,poddisruptionbudgets"
CPU = {"requests": {"cpu": "50m"}}


def children(bench):
    return {(child["kind"], child["metadata"]["name"]): child for child in bench.get(CHILDREN, *OURS)["items"]}


def operators(cluster):
    """Return the operator's pods by name."""
    found = cluster.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/name=tfmodel-operator")["items"]
    return {pod["metadata"]["name"]: pod for pod in found}


def restarts(cluster):
    return {
        (name, pod["metadata"]["uid"], status["restartCount"])
        for name, pod in operators(cluster).items()
        for status in pod["status"].get("containerStatuses", [])
    }


def leader(cluster):
    """Return the name of the pod that holds the Lease; "" if none does."""
    spec = cluster.get("-n", SYSTEM, "lease", "tfmodel-operator")["spec"]
    return str(spec.get("holderIdentity") or "").partition("_")[0]


def two_replicas(cluster):
    """Wait until two replicas are up, none is on its way out, and one of them leads; return the leader's name."""

    def look():
        pods = operators(cluster)
        up = [name for name, pod in pods.items() if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        return leader(cluster) if len(up) == len(pods) == 2 and leader(cluster) in up else ""

    return cluster.wait_for("two replicas, of which one leads", look)


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def process(pod):
    """Return the process id of the operator in a pod, as this machine counts."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = ((directory / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if f"HOSTNAME={pod}".encode() in environment and b"tfmodel_operator" in words:
            return int(directory.name)
    raise AssertionError(f"no operator runs in {pod}")


def passed_over(bench, **spec):
    """Apply a spec, and wait until the operator has acted on it and the model is Ready; return the TFModel."""
    bench.tfmodel(**spec)
    return bench.wait_ready()


# What people do


def test_orphans_are_adopted_without_a_restart(served):
    before, pods = children(served), identity(server_pods(served))
    served.kubectl("delete", "tfmodel/half", "--cascade=orphan")
    served.cluster.wait_for(
        "the orphans", lambda: [child for child in children(served).values() if "ownerReferences" in child["metadata"]], done=lambda owned: not owned
    )  # fmt: skip
    assert served.predict(INSTANCES) == ANSWERS
    found = passed_over(served, server={"resources": CPU})
    after = children(served)
    assert {key: child["metadata"]["uid"] for key, child in after.items()} == {key: child["metadata"]["uid"] for key, child in before.items()}
    assert {child["metadata"]["ownerReferences"][0]["uid"] for child in after.values()} == {found["metadata"]["uid"]}
    assert identity(server_pods(served)) == pods


def test_deleted_and_edited_children_come_back(served):
    served.kubectl("scale", "tfmodel/half", "--replicas=2")  # for a PodDisruptionBudget
    served.cluster.wait_for("two pods", lambda: served.wait_ready()["status"]["server"]["pods"] == "2/2", timeout=120)
    before, pods = children(served), identity(server_pods(served))
    assert {kind for kind, _ in before} == {"ConfigMap", "Service", "Deployment", "NetworkPolicy", "PodDisruptionBudget"}
    with Load(served.address(), served.address(port=8500), per_second=10) as clients:
        served.kubectl("delete", "configmap/half-models", "service/half-headless", "poddisruptionbudget/half")
        served.kubectl("patch", "deployment/half", "--type=merge", "-p", '{"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}}')
        served.kubectl("patch", "networkpolicy/half", "--type=merge", "-p", '{"spec": {"ingress": []}}')

        def whole():
            now = children(served)
            edited = ("Deployment", "half"), ("NetworkPolicy", "half")
            return now.keys() == before.keys() and all(now[key]["spec"] == before[key]["spec"] for key in edited)

        served.cluster.wait_for("all children to be whole again", whole, timeout=30)
        served.wait_ready()
    assert clients.failures == []
    assert identity(server_pods(served)) == pods


def test_what_others_add_is_left_alone(served):
    """A sidecar that is injected into the Deployment, as some meshes do it, and labels and annotations of other tools."""
    sidecar = {"name": "mesh", "image": kube.MODEL_SERVER, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
               "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}  # fmt: skip
    template = {"metadata": {"annotations": {"mesh.example/injected": "true"}}, "spec": {"containers": [sidecar]}}
    served.kubectl("patch", "deployment/half", "--type=strategic", "-p", json.dumps({"spec": {"template": template}}))
    served.kubectl("label", "deployment/half", "service/half", "team=vision")
    served.kubectl("annotate", "service/half", "mesh.example/exported=true")
    served.cluster.wait_for(
        "the sidecar", lambda: [len(pod["spec"]["containers"]) for pod in server_pods(served)], timeout=120, done=lambda counts: counts == [2]
    )  # fmt: skip
    served.wait_ready()
    pods = identity(server_pods(served))
    passed_over(served, server={"resources": CPU, "service": {"annotations": {"a": "b"}}})
    service, deployment = served.get("service", "half"), served.get("deployment", "half")
    assert service["metadata"]["annotations"]["a"] == "b"
    assert service["metadata"]["annotations"]["mesh.example/exported"] == "true"
    assert service["metadata"]["labels"]["team"] == deployment["metadata"]["labels"]["team"] == "vision"
    assert {container["name"] for container in deployment["spec"]["template"]["spec"]["containers"]} == {"model-server", "mesh"}
    assert identity(server_pods(served)) == pods


@pytest.mark.timeout(600)
def test_an_upgrade_of_the_operator_restarts_no_model_server(served):
    image = kube.operator_image()
    other = f"{image.reference.rpartition(':')[0]}:another"
    served.cluster.load_image(image, other)
    before, pods = children(served), identity(server_pods(served))
    try:
        with Load(served.address(), served.address(port=8500), per_second=20) as clients:
            install(served.cluster, "image.tag=another")
            two_replicas(served.cluster)
            passed_over(served, server={"resources": CPU, "service": {"annotations": {"a": "b"}}})
        assert {c["image"] for pod in operators(served.cluster).values() for c in pod["spec"]["containers"]} == {other}
        assert children(served)["Deployment", "half"]["spec"] == before["Deployment", "half"]["spec"]
        assert identity(server_pods(served)) == pods
        assert clients.failures == []
        # Pods that are replaced anyway follow the operator.
        passed_over(served, server={"resources": CPU, "pod": {"labels": {"team": "vision"}}})
        (pod,) = (pod for pod in server_pods(served) if "deletionTimestamp" not in pod["metadata"])
        assert [container["image"] for container in pod["spec"]["initContainers"]] == [other]
    finally:
        install(served.cluster)


# What machines do


def test_a_frozen_leader_is_replaced_in_time_and_writes_nothing_when_it_wakes(served):
    cluster = served.cluster
    frozen = two_replicas(cluster)
    pid = process(frozen)
    os.kill(pid, signal.SIGSTOP)
    try:
        cluster.wait_for("another leader", lambda: leader(cluster), timeout=20, done=lambda name: name not in ("", frozen))
        passed_over(served, server={"resources": CPU, "replicas": 1, "service": {"annotations": {"a": "b"}}})
        before = {key: child["metadata"]["resourceVersion"] for key, child in children(served).items()}
    finally:
        os.kill(pid, signal.SIGCONT)
    cluster.wait_for(
        "the frozen one to end", lambda: {restarted for name, _, restarted in restarts(cluster) if name == frozen}, done=lambda counts: counts == {1}
    )  # fmt: skip
    assert "the lease is held by" in cluster.kubectl("-n", SYSTEM, "logs", frozen, "--previous")
    cluster.kubectl("-n", SYSTEM, "wait", "--for=condition=Ready", f"pod/{frozen}", "--timeout=60s")
    assert {key: child["metadata"]["resourceVersion"] for key, child in children(served).items()} == before
    assert leader(cluster) != frozen


def test_a_leader_that_is_asked_to_stop_hands_over_at_once(served):
    cluster = served.cluster
    leaving = two_replicas(cluster)
    cluster.kubectl("-n", SYSTEM, "delete", "pod", leaving, "--wait=false")
    began = time.monotonic()
    cluster.wait_for("another leader", lambda: leader(cluster), timeout=10, done=lambda name: name not in ("", leaving))
    assert time.monotonic() - began < 5
    passed_over(served, server={"resources": CPU, "service": {"annotations": {"a": "b"}}})


@pytest.mark.timeout(600)
def test_an_operator_of_two_namespaces_works_there_and_nowhere_else(cluster, half_plus_two):
    inside, outside = [Bench(cluster, f"named-{number}") for number in (1, 2)], Bench(cluster, "unnamed")
    try:
        install(cluster, "namespaces={named-1,named-2}")
        for bench in (*inside, outside):
            put(bench.claim(), 1, half_plus_two)
            bench.tfmodel(server={"resources": CPU})
        for bench in inside:
            bench.wait_ready()
        assert outside.get("tfmodel", "half")["status"] == {"observedGeneration": -1}
        assert children(outside) == {}
        logs = cluster.kubectl("-n", SYSTEM, "logs", two_replicas(cluster))
        assert "forbidden" not in logs.lower()
        install(cluster)
        outside.wait_ready()
    finally:
        install(cluster)
        for bench in (*inside, outside):
            cluster.kubectl("delete", "namespace", bench.namespace, "--wait=false")


# What is to be read at night


def test_a_spec_that_cannot_be_had_is_stalled_and_not_waited_for(bench):
    bench.claim()
    too_much = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    bench.tfmodel(server={"resources": too_much})
    bench.kubectl("wait", "--for=condition=Stalled", "tfmodel/half", "--timeout=20s")
    assert bench.condition("Reconciling") == {}
    assert bench.condition()["reason"] == "RejectedByAPIServer"
    conditions = {c["type"]: c["status"] for c in bench.get("tfmodel", "half")["status"]["conditions"]}
    assert (conditions["PodsReady"], conditions["VersionsVerified"], conditions["ModelAvailable"]) == ("False", "Unknown", "Unknown")
    described = bench.kubectl("describe", "tfmodel", "half")
    (event,) = described.partition("Events:")[2].splitlines()[3:4]
    assert event.split()[:2] == ["Warning", "RejectedByAPIServer"]
    assert "must be less than or equal to memory limit of 1Gi" in event


def test_what_is_wrong_can_be_read_off_get_and_describe(served):
    put(served.directory, 2, b"no protobuf")
    message = served.wait_reason("VersionRejected")
    assert message.startswith("pod half-")
    assert message.endswith(": version 2: saved_model.pb can't be parsed: wire type 6 before byte 1; replace its files, delete it, or ask for another version; version 1 goes on serving")
    headings, row = (line.split() for line in served.kubectl("get", "tfm", "-o", "wide").splitlines())
    assert headings == ["NAME", "READY", "VERSION", "CANDIDATE", "PODS", "REASON", "ROLLOUT", "AGE", "SERVER", "IMAGE", "ACCELERATOR", "POLICY", "STEP"]
    assert row[:5] == ["half", "False", "1", "1/1", "VersionRejected"]
    assert row[7:9] == ["half", "tensorflow/serving:2.19.1"]
    described = served.cluster.wait_for(
        "the Event", lambda: served.kubectl("describe", "tfmodel", "half"), done=lambda text: "Warning  VersionRejected" in text
    )  # fmt: skip
    assert f"Message:               {message}" in described
    events = [line.split()[:2] for line in described.partition("Events:")[2].splitlines()[3:]]
    assert sorted(events) == [["Normal", "AsDesired"], ["Warning", "VersionRejected"]], "a start that goes well is no warning"


def answers_requests(cluster):
    try:
        return cluster.kubectl("get", "--raw=/readyz", timeout=5) == "ok"
    except CommandFailed:
        return False


@pytest.mark.timeout(400)
def test_a_control_plane_that_is_away_is_outlived(served):
    cluster = served.cluster
    first = two_replicas(cluster)
    before, pods = restarts(cluster), identity(server_pods(served))
    address, grpc_address = served.address(), served.address(port=8500)
    away = ("kube-controller-manager", "kube-scheduler", "kube-apiserver")
    with Load(address, grpc_address, per_second=10) as clients:
        for component in away:
            cluster.components.kill(component)
        gone, answers = time.monotonic(), clients.answers
        while time.monotonic() < gone + 60:
            assert served.predict(INSTANCES, address=address) == ANSWERS
            time.sleep(1)
        cluster.components.restart("kube-apiserver")
        while not answers_requests(cluster):  # the cluster's own way of waiting insists on all components
            assert served.predict(INSTANCES, address=address) == ANSWERS
        for component in away[:2]:
            cluster.restart(component)
        assert clients.answers > answers + 300
        passed_over(served, server={"resources": CPU, "service": {"annotations": {"a": "b"}}})
    assert served.get("service", "half")["metadata"]["annotations"]["a"] == "b"
    assert clients.failures == []
    assert restarts(cluster) == before
    assert leader(cluster) == first
    assert identity(server_pods(served)) == pods
