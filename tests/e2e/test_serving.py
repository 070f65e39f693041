"""The main job on a real node: what users see, and what must never happen to what serves."""

from __future__ import annotations

import grpc
import pytest

from tests.agent.load import Load
from tests.demo.__main__ import predict_grpc
from tests.e2e.conftest import put

INSTANCES, ANSWERS = [1.0, 2.0, 5.0], [2.5, 3.0, 4.5]


# The containers of a pod see each other's processes.
KILL = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if int(process.name) != os.getpid() and b"{flag}" in (process / "cmdline").read_bytes():
        os.kill(int(process.name), signal.SIGKILL)
"""
KILL_MODEL_SERVER, KILL_AGENT = KILL.format(flag="--rest_api_port="), KILL.format(flag="\\0work\\0")


@pytest.fixture
def served(bench, half_plus_two):
    """A TFModel that is Ready."""
    bench.directory = bench.claim()
    put(bench.directory, 1, half_plus_two)
    bench.tfmodel(server={"resources": {"requests": {"cpu": "50m"}}})
    bench.wait_ready()
    bench.answers(INSTANCES)
    return bench


def server_pods(bench):
    return bench.get("pods", "-l", "serving.tfmodel.dev/server=half")["items"]


def identity(pods):
    """What changes when a pod is replaced or one of its containers restarts."""
    return {
        (pod["metadata"]["uid"], status["name"], status["restartCount"])
        for pod in pods
        for status in pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    }


def test_a_model_is_served_over_rest_and_grpc_and_status_says_so(served):
    assert served.predict(INSTANCES) == ANSWERS
    found = served.get("tfmodel", "half")
    assert found["status"]["promotedVersion"] == 1
    version = {"version": 1, "state": "AVAILABLE", "verdict": "Verified", "pods": 1, "of": 1, "message": ""}
    (told,) = found["status"]["versions"]
    assert {key: told[key] for key in version} == version
    assert told["signatures"] == ["serving_default"]
    assert {c["type"]: c["status"] for c in found["status"]["conditions"]} == dict.fromkeys(
        ["Ready", "Available", "ConfigValid", "VersionsVerified", "PodsReady", "ModelAvailable"], "True"
    )
    assert found["status"]["endpoints"]["rest"] == f"http://half.{served.namespace}.svc:8501/v1/models/half"
    columns = served.kubectl("get", "tfmodels").splitlines()[1].split()
    assert columns[:5] == ["half", "True", "1", "1/1", "AsDesired"]
    served.kubectl("wait", "--for=condition=Ready", "tfmodel/half", "--timeout=1s")


def test_pods_are_restricted_and_carry_no_token(served):
    served.kubectl("label", "namespace", served.namespace, "pod-security.kubernetes.io/enforce=restricted")
    served.kubectl("delete", "pod", "-l", "serving.tfmodel.dev/server=half", "--wait=false")
    served.cluster.wait_for("a pod that passes", lambda: [p for p in server_pods(served) if "deletionTimestamp" not in p["metadata"]])
    served.wait_ready()
    for pod in server_pods(served):
        mounts = [m["mountPath"] for c in pod["spec"]["containers"] + pod["spec"]["initContainers"] for m in c["volumeMounts"]]
        assert not any("serviceaccount" in path for path in mounts)


def test_a_new_version_is_taken_up_beside_the_old_one_without_a_restart(served, half_plus_two):
    before = identity(server_pods(served))
    put(served.directory, 2, half_plus_two)
    served.cluster.wait_for(
        "version 2", lambda: served.get("tfmodel", "half")["status"].get("promotedVersion"), done=lambda version: version == 2
    )
    served.wait_ready()
    assert served.predict(INSTANCES) == ANSWERS
    assert identity(server_pods(served)) == before


def test_specific_versions_reach_the_pods_at_once(served, half_plus_two):
    put(served.directory, 2, half_plus_two)
    served.cluster.wait_for("version 2", lambda: served.get("tfmodel", "half")["status"].get("promotedVersion") == 2)
    before = identity(server_pods(served))
    served.tfmodel(server={"resources": {"requests": {"cpu": "50m"}}}, versionPolicy={"specific": {"versions": [1]}})
    # A ConfigMap volume alone may lag by a minute: the operator touches the pods.
    served.cluster.wait_for("version 1", lambda: served.get("tfmodel", "half")["status"].get("promotedVersion") == 1, timeout=30)
    assert identity(server_pods(served)) == before


def test_an_emptied_volume_unloads_nothing(served):
    for file in (served.directory / "half/1").iterdir():
        file.unlink()
    (served.directory / "half/1").rmdir()
    served.wait_reason("NoVersionFound")
    assert served.predict(INSTANCES) == ANSWERS
    assert served.condition("Available")["status"] == "True"


def test_a_half_copied_version_never_reaches_the_server(served, half_plus_two):
    half = served.directory / "half"
    (half / "2/variables").mkdir(parents=True)
    (half / "2/variables/variables.data-00000-of-00001").write_bytes(b"x")

    def second():
        return next((v for v in served.get("tfmodel", "half")["status"]["versions"] if v["version"] == 2), {})

    served.cluster.wait_for("version 2 to be seen", second)
    assert (second()["verdict"], second()["state"], second()["message"]) == ("Incomplete", "", "saved_model.pb is missing")
    assert served.condition()["status"] == "True"
    for path in (half / "2/variables/variables.data-00000-of-00001", half / "2/variables"):
        path.unlink() if path.is_file() else path.rmdir()
    (half / "2/saved_model.pb").write_bytes(half_plus_two)
    served.cluster.wait_for("version 2 to serve", lambda: served.get("tfmodel", "half")["status"].get("promotedVersion") == 2)


def test_killing_the_operator_changes_nothing_for_the_model(served):
    before = identity(server_pods(served))
    operators = ("-n", "tfmodel-system", "pods", "-l", "app.kubernetes.io/name=tfmodel-operator")
    names = {pod["metadata"]["name"] for pod in served.cluster.get(*operators)["items"]}
    served.cluster.kubectl("-n", "tfmodel-system", "delete", "pod", *names, "--grace-period=0", "--force")
    address = served.address()

    def replaced():
        assert served.predict(INSTANCES, address=address) == ANSWERS
        pods = served.cluster.get(*operators)["items"]
        return [
            pod
            for pod in pods
            if pod["metadata"]["name"] not in names
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        ]

    served.cluster.wait_for("another operator", replaced)
    wanted = served.get("deployment", "half")["spec"]
    served.kubectl("patch", "tfmodel", "half", "--type=merge", "-p", '{"spec": {"server": {"replicas": 1}}}')
    served.wait_ready()
    assert served.get("deployment", "half")["spec"] == wanted
    assert identity(server_pods(served)) == before


def test_a_killed_model_server_is_fed_again(served):
    pod = server_pods(served)[0]["metadata"]["name"]
    served.kubectl("exec", pod, "-c", "agent", "--", "python", "-c", KILL_MODEL_SERVER)
    served.cluster.wait_for("a restart", lambda: server_pods(served)[0]["status"]["containerStatuses"][0]["restartCount"] >= 1)
    served.wait_ready()
    assert served.answers(INSTANCES) == ANSWERS


def test_a_mistyped_claim_takes_nothing_from_a_pod_whose_server_is_killed_meanwhile(served):
    before = server_pods(served)[0]["metadata"]
    server = {"resources": {"requests": {"cpu": "50m"}}}
    served.tfmodel(claim="modles", server=server)
    assert 'persistentvolumeclaim "modles" not found' in served.wait_reason("SourceUnavailable")
    served.kubectl("exec", before["name"], "-c", "agent", "--", "python", "-c", KILL_MODEL_SERVER)

    def restarts():
        pod = next(pod for pod in server_pods(served) if pod["metadata"]["uid"] == before["uid"])
        return pod["status"]["containerStatuses"][0]["restartCount"]

    served.cluster.wait_for("a restart", restarts)
    assert served.answers(INSTANCES) == ANSWERS
    served.tfmodel(server=server)
    served.wait_ready()
    assert [pod["metadata"]["uid"] for pod in server_pods(served) if "deletionTimestamp" not in pod["metadata"]] == [before["uid"]]


def test_scaling_by_the_scale_subresource(served):
    served.kubectl("scale", "tfmodel/half", "--replicas=2")
    served.cluster.wait_for("two pods", lambda: served.wait_ready()["status"]["server"]["pods"] == "2/2", timeout=120)
    assert served.kubectl("get", "tfmodel", "half", "-o", "jsonpath={.status.replicas}") == "2"
    served.kubectl("scale", "tfmodel/half", "--replicas=0")
    served.cluster.wait_for("no pods", lambda: server_pods(served) == [], timeout=120)
    assert served.wait_ready()["status"]["server"]["pods"] == "0/0"
    assert served.condition("Available")["status"] == "False"


def test_deleting_the_model_leaves_nothing(served):
    served.kubectl("delete", "tfmodel", "half")
    kinds = "configmaps,services,deployments,replicasets,pods,endpointslices"
    ours = ("-n", served.namespace, kinds, "-l", "serving.tfmodel.dev/server")
    served.cluster.wait_for("everything to go", lambda: served.cluster.get(*ours)["items"] == [], timeout=120)


def test_a_missing_claim_is_named_and_heals(bench, half_plus_two):
    bench.tfmodel()
    message = bench.wait_reason("SourceUnavailable")
    assert 'persistentvolumeclaim "models" not found' in message
    put(bench.claim(), 1, half_plus_two)
    bench.wait_ready()


def test_a_missing_base_path_and_one_without_versions_are_named_and_heal(bench, half_plus_two):
    directory = bench.claim()
    bench.tfmodel()
    # At first the claim may not be bound yet, which is the same reason.
    missing = "base path /models/models/half does not exist (PersistentVolumeClaim models, path half)"
    bench.wait_reason("SourceUnavailable", timeout=90, says=missing)
    (directory / "half").mkdir()
    assert "holds no version directory" in bench.wait_reason("NoVersionFound")
    put(directory, 1, half_plus_two)
    bench.wait_ready()


def test_a_version_that_cannot_be_loaded_is_stalled_in_the_servers_words_and_heals(bench, half_plus_two):
    directory = bench.claim()
    put(directory, 1, half_plus_two.replace(b"AddV2", b"NoAdd"))  # verification can't know which kernels a server has
    bench.tfmodel()
    message = bench.wait_reason("ModelLoadFailed", timeout=90)
    assert "version 1 failed to load" in message
    assert "NoAdd" in message
    assert bench.condition("Stalled")["status"] == "True"
    (directory / "half/1/saved_model.pb").write_bytes(half_plus_two)
    bench.wait_ready()


def test_a_broken_version_is_rejected_before_the_server_sees_it(bench, half_plus_two):
    directory = bench.claim()
    put(directory, 1, b"no protobuf")
    bench.tfmodel()
    assert "saved_model.pb" in bench.wait_reason("VersionRejected", timeout=90)
    assert bench.condition("Stalled")["status"] == "True"
    (directory / "half/1/saved_model.pb").write_bytes(half_plus_two)
    bench.wait_ready()


def test_grpc_through_the_service(served):
    try:
        answer = predict_grpc(served.address(port=8500), "half")
    except grpc.RpcError as error:
        pytest.fail(f"no answer over gRPC: {error}")
    assert answer == ANSWERS


def test_replacing_a_pod_under_load_fails_no_request(served):
    served.kubectl("scale", "tfmodel/half", "--replicas=2")
    served.cluster.wait_for("two pods", lambda: served.wait_ready()["status"]["server"]["pods"] == "2/2", timeout=120)
    leaving = server_pods(served)[0]["metadata"]["name"]
    with Load(served.address(), served.address(port=8500), per_second=75) as clients:
        served.kubectl("delete", "pod", leaving, "--wait=false")
        served.cluster.wait_for("the pod to go", lambda: leaving not in {p["metadata"]["name"] for p in server_pods(served)}, timeout=90)
        served.wait_ready()
    assert clients.failures == []
    assert clients.answers > 500


def test_a_killed_agent_leaves_the_pod_ready_and_fails_no_request(served):
    pod = server_pods(served)[0]["metadata"]["name"]
    changes = served.cluster.get("-n", served.namespace, "pod", pod)["status"]["conditions"]
    since = next(c["lastTransitionTime"] for c in changes if c["type"] == "Ready")
    with Load(served.address(), served.address(port=8500), per_second=75) as clients:
        served.kubectl("exec", pod, "-c", "model-server", "--", "python3", "-c", KILL_AGENT)
        served.cluster.wait_for("the agent's restart", lambda: "Agent ended" in served.kubectl("logs", pod, "-c", "agent"))
        served.wait_ready()
        seen = clients.answers
        served.cluster.wait_for("more answers", lambda: clients.answers > seen + 300)
    assert clients.failures == []
    ready = next(c for c in served.get("pod", pod)["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", since)
