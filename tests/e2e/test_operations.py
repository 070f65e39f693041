"""What operators of clusters do: upgrade, delete and adopt, kill the leader, work in namespaces; and what they see at night."""

from __future__ import annotations

import json
import time

import pytest

from tests.demo import kube
from tests.e2e.conftest import CHART, put
from tests.e2e.test_serving import identity, server_pods

SYSTEM = "tfmodel-system"
SMALL = {"drainSeconds": 2, "resources": {"requests": {"cpu": "20m"}}}
OPERATORS = ("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/name=tfmodel-operator")
CHILDREN = "configmap/half-models", "service/half", "service/half-headless", "deployment/half", "poddisruptionbudget/half", "networkpolicy/half"


@pytest.fixture
def served(bench, half_plus_two):
    bench.directory = bench.claim()
    put(bench.directory, 1, half_plus_two)
    bench.tfmodel(server=SMALL)
    bench.wait_ready()
    bench.answers([1.0])
    return bench


@pytest.fixture
def release(cluster):
    """Upgrade the operator's release; as it was afterwards."""

    def upgrade(**values):
        sets = [f"--set={key}={value}" for key, value in values.items()]
        cluster.helm("upgrade", "tfmodel-operator", str(CHART), "--namespace", SYSTEM, "--reuse-values", "--wait", *sets)

    yield upgrade
    cluster.helm("rollback", "tfmodel-operator", "1", "--namespace", SYSTEM, "--wait")


def operators(cluster):
    """The operator's pods that are not on their way out."""
    return [pod for pod in cluster.get(*OPERATORS)["items"] if "deletionTimestamp" not in pod["metadata"]]


def leader(cluster):
    """The name of the pod that holds the Lease."""
    (lease,) = cluster.get("-n", SYSTEM, "leases")["items"]
    holder = lease["spec"].get("holderIdentity", "")
    return next((p["metadata"]["name"] for p in operators(cluster) if p["metadata"]["name"] in holder or p["metadata"]["uid"] in holder), None)


def templates(bench):
    """What changes when a pod template does, and when one is rolled out."""
    deployment = bench.get("deployment", "half")
    hashes = {pod["metadata"]["labels"]["pod-template-hash"] for pod in server_pods(bench)}
    return deployment["spec"]["template"], deployment["metadata"]["generation"], hashes


def versions(bench):
    return {child: bench.get(child)["metadata"]["resourceVersion"] for child in CHILDREN}


def test_the_operator_is_installed_and_available(cluster):
    deployment = cluster.get("-n", SYSTEM, "deployment", "tfmodel-operator")
    assert deployment["status"]["availableReplicas"] == deployment["spec"]["replicas"] == 2
    assert leader(cluster)
    assert "Error" not in cluster.helm("status", "tfmodel-operator", "--namespace", SYSTEM)


def test_an_orphaned_server_is_adopted_without_a_pod_restart(served):
    before, uid = identity(server_pods(served)), served.get("tfmodel", "half")["metadata"]["uid"]
    served.kubectl("delete", "tfmodel", "half", "--cascade=orphan")
    served.cluster.wait_for("the orphan", lambda: "ownerReferences" not in served.get("deployment", "half")["metadata"])
    assert served.predict([1.0]) == [2.5]
    served.tfmodel(server=SMALL)
    found = served.wait_ready()
    assert found["metadata"]["uid"] != uid
    assert identity(server_pods(served)) == before
    for child in CHILDREN:
        assert [owner["uid"] for owner in served.get(child)["metadata"]["ownerReferences"]] == [found["metadata"]["uid"]]


def test_an_upgrade_of_the_operator_replaces_no_model_pod(served, release):
    before, template = identity(server_pods(served)), templates(served)
    old = kube.operator_image()
    repository, _, _ = old.reference.rpartition(":")
    served.cluster.load_image(old, f"{repository}:another")
    release(**{"image.tag": "another"})
    served.cluster.wait_for("a leader of the new version", lambda: leader(served.cluster), 60)
    assert {pod["spec"]["containers"][0]["image"] for pod in operators(served.cluster)} == {f"{repository}:another"}
    served.kubectl("label", "tfmodel", "half", "looked-at=again")
    served.kubectl("annotate", "deployment", "half", "serving.tfmodel.dev/applied-hash-", "--overwrite")
    served.cluster.wait_for("the new operator to have looked", lambda: "serving.tfmodel.dev/applied-hash" in served.get("deployment", "half")["metadata"]["annotations"], 60)
    assert templates(served)[0] == template[0]
    assert templates(served)[2] == template[2]
    assert identity(server_pods(served)) == before
    served.tfmodel(server={**SMALL, "resources": {"requests": {"cpu": "21m"}}})
    served.cluster.wait_for("another template", lambda: templates(served)[2] != template[2])
    served.wait_ready()
    (agent,) = server_pods(served)[0]["spec"]["initContainers"]
    assert agent["image"] == f"{repository}:another", "a template that changes anyway takes the new agent along"


@pytest.mark.parametrize("child", CHILDREN)
def test_a_deleted_child_comes_back(served, child):
    uid = served.get(child)["metadata"]["uid"]
    served.kubectl("delete", child, "--cascade=orphan")
    served.cluster.wait_for(f"another {child}", lambda: served.get(child)["metadata"]["uid"] != uid, timeout=30)
    served.wait_ready()
    assert served.answers([1.0]) == [2.5]


@pytest.mark.parametrize(
    ("child", "patch"),
    [
        ("configmap/half-models", {"data": {"models.config": ""}}),
        ("service/half", {"spec": {"selector": {"serving.tfmodel.dev/server": "other"}}}),
        ("deployment/half", {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}}),
        ("poddisruptionbudget/half", {"spec": {"maxUnavailable": 5}}),
        ("networkpolicy/half", {"spec": {"ingress": [{}]}}),
    ],
    ids=lambda value: value.split("/")[0] if isinstance(value, str) else "",
)
def test_an_edited_child_is_mended(served, child, patch):
    def spec():
        return {key: served.get(child).get(key) for key in ("data", "spec")}

    before = spec()
    served.kubectl("patch", child, "--type=merge", "-p", json.dumps(patch))
    served.cluster.wait_for(f"{child} as it was", spec, 30, done=lambda now: now == before)
    served.wait_ready()
    assert served.answers([1.0]) == [2.5]


def test_another_replica_takes_over_and_nothing_is_written_twice(served):
    cluster, before = served.cluster, versions(served)
    first = cluster.wait_for("a leader", lambda: leader(cluster))
    killed = time.monotonic()
    cluster.kubectl("-n", SYSTEM, "delete", "pod", first, "--grace-period=0", "--force")
    served.tfmodel(server=SMALL, versionPolicy={"specific": {"versions": [1]}})
    cluster.wait_for("the change to be published", lambda: "specific" in served.get("configmap", "half-models")["data"]["models.config"], timeout=40)
    assert time.monotonic() - killed <= 20
    served.wait_ready()
    after = versions(served)
    assert {child for child in CHILDREN if before[child] != after[child]} <= {"configmap/half-models", "deployment/half"}  # its status
    assert served.get("deployment", "half")["metadata"]["generation"] == 1
    written = [line for pod in operators(cluster) for line in log(cluster, pod["metadata"]["name"]) if line.get("message") == "Applying ConfigMap"]
    assert len([line for line in written if line.get("namespace") == served.namespace]) <= 2  # at first by one, now by the other


def log(cluster, pod):
    lines = cluster.kubectl("-n", SYSTEM, "logs", pod).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_replicas_that_an_autoscaler_sets_on_the_deployment_are_left_alone_and_told(served):
    served.kubectl("scale", "deployment/half", "--replicas=2")
    served.cluster.wait_for("two pods", lambda: served.wait_ready()["status"]["server"]["pods"], 120, done=lambda pods: pods == "2/2")
    served.tfmodel(server=SMALL, versionPolicy={"specific": {"versions": [1]}})
    assert served.wait_ready()["status"]["server"]["pods"] == "2/2"


def test_an_operator_of_two_namespaces_works_there_and_nowhere_else(cluster, release, served, half_plus_two):
    names = [f"{served.namespace}-a", f"{served.namespace}-b"]
    benches = [type(served)(cluster, name) for name in names]
    release(namespaces="{" + ",".join(names) + "}")
    for bench in benches:
        put(bench.claim(), 1, half_plus_two)
        bench.tfmodel(server=SMALL)
    for bench in benches:
        bench.wait_ready(timeout=180)
        assert bench.answers([1.0]) == [2.5]
    generation = served.get("tfmodel", "half")["status"]["observedGeneration"]
    served.tfmodel(server={**SMALL, "replicas": 2})
    benches[0].kubectl("scale", "tfmodel/half", "--replicas=0")
    benches[0].cluster.wait_for("the operator to work", lambda: benches[0].get("deployment", "half")["spec"]["replicas"] == 0)
    assert served.get("tfmodel", "half")["status"]["observedGeneration"] == generation
    assert "forbidden" not in "".join(cluster.kubectl("-n", SYSTEM, "logs", pod["metadata"]["name"]).lower() for pod in operators(cluster))
    assert "clusterrolebinding" not in cluster.helm("get", "manifest", "tfmodel-operator", "--namespace", SYSTEM).lower()
    for name in names:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_events_and_describe_tell_the_story(served):
    served.tfmodel(server={**SMALL, "image": "localhost/no/such:image"})
    served.wait_reason("ImagePullFailed")
    served.tfmodel(server=SMALL)
    served.wait_ready()

    def events():
        found = served.get("events", "--field-selector=involvedObject.kind=TFModel,involvedObject.name=half")["items"]
        return [(event["type"], event["reason"]) for event in sorted(found, key=lambda event: event["metadata"]["creationTimestamp"])]

    told = served.cluster.wait_for("the Events", events, done=lambda told: told.count(("Normal", "AsDesired")) >= 2)
    assert told[0] == ("Normal", "AsDesired")
    assert ("Warning", "ImagePullFailed") in told
    assert len(told) <= 6, told
    described = served.kubectl("describe", "tfmodel", "half")
    assert "version 1 AVAILABLE on all 1 pods" in described
    assert "ImagePullFailed" in described.split("Events:")[1]
