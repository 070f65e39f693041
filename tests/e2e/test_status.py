"""What status says on a real node is so, at every revision, and in words that help."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time

import pytest

from tests.e2e.conftest import put
from tests.recorder import Recorder, replay
from tfmodel_serving import agent_config, model_config

SMALL = {"replicas": 1, "drainSeconds": 2, "resources": {"requests": {"cpu": "20m"}}}
LATE_SECONDS = 5.0
"""What an agent says has reached the operator, and the status our watch, after so long, on a machine with much to do."""


@pytest.fixture
def model(bench, half_plus_two):
    """A namespace with two versions on a claim, and no TFModel yet."""
    bench.directory = bench.claim()
    for version in (1, 2):
        put(bench.directory, version, half_plus_two)
    return bench


@pytest.fixture
def served(model):
    model.tfmodel(server=SMALL)
    model.wait_ready()
    return model


def conditions(found):
    return {condition["type"]: condition for condition in found.get("status", {}).get("conditions", [])}


# At every revision


def random_edits(seed):
    """Edits as people and controllers make them, in pairs of what is said and what is done."""
    dice = random.Random(seed)  # noqa: S311 not for secrets

    def edit(model):
        policy = dice.choice([{"latest": {"numVersions": 1}}, {"specific": {"versions": [1]}}, {"specific": {"versions": [1, 2]}}, {"specific": {"versions": [2]}}])
        server = {"replicas": dice.choice([0, 1, 1, 2, 2, 3]), "resources": {"requests": {"cpu": dice.choice(["20m", "20m", "21m"])}}, "drainSeconds": 2}
        model.tfmodel(server=server, versionPolicy=policy)

    def delete_pod(model):
        pods = model.get("pods")["items"]
        if pods:
            model.kubectl("delete", "pod", dice.choice(pods)["metadata"]["name"], "--wait=false", "--ignore-not-found")

    def bad_image(model):
        model.tfmodel(server={**SMALL, "image": "localhost/no/such:image"})

    for _ in range(12):
        yield dice.choice([edit, edit, edit, edit, delete_pod, bad_image]), dice.choice([0.2, 2.0, 5.0, None])


@pytest.mark.timeout(900)
def test_ready_is_true_only_when_all_is_so(model):
    seed = random.randrange(10**6)  # noqa: S311
    print(f"seed {seed}")
    with Recorder(model.cluster, model.namespace) as recorder:
        model.tfmodel(server=SMALL)
        model.wait_ready()
        sound = True
        for act, pause in random_edits(seed):
            act(model)
            sound = act.__name__ == "edit" or (sound and act.__name__ != "bad_image")
            if pause is None and sound:
                model.wait_ready(timeout=180)
            else:
                time.sleep(pause or 1.0)  # not waiting for anything: the next edit comes in the middle of this one
        model.tfmodel(server=SMALL, versionPolicy={"specific": {"versions": [1, 2]}})
        model.wait_ready(timeout=180)
    judge(recorder)


def judge(recorder):
    """Look at every revision of the TFModel, with everything else as it was at that moment."""
    moments, ready, before = [], 0, None
    for revision, objects in replay(recorder.revisions):
        moments.append((revision, objects))
        if revision.kind != "TFModel" or revision.body is None:
            continue
        found, now = revision.body, conditions(revision.body)
        consistent(found, before)
        current = found["status"]["observedGeneration"] == found["metadata"]["generation"]
        is_ready_now = current and now.get("Ready", {}).get("status") == "True"
        assert (kstatus(found) == "Current") == is_ready_now
        if is_ready_now:
            ready += 1
            assert any(so(found, then, recorder) for then in lately(moments, found)), explain(revision, objects, recorder)
        before = found
    assert ready >= 3, "Ready was hardly ever true: nothing has been tested"


def kstatus(found):
    """What Flux, and Helm from version 4 on, take an object for.

    Source: sigs.k8s.io/cli-utils, pkg/kstatus/status/{status,generic}.go.
    """
    now = conditions(found)
    if found["status"].get("observedGeneration", found["metadata"]["generation"]) != found["metadata"]["generation"]:
        return "InProgress"
    if now.get("Reconciling", {}).get("status") == "True":
        return "InProgress"
    if now.get("Stalled", {}).get("status") == "True":
        return "Failed"
    return "InProgress" if now.get("Ready", {}).get("status", "True") != "True" else "Current"


def consistent(found, before):
    """What holds between the conditions of one revision, and between two."""
    now, was = conditions(found), conditions(before or {})
    if not now:
        assert found["status"]["observedGeneration"] == -1
        return
    motion = {"Stalled", "Reconciling"} & now.keys()
    assert len(motion) == (0 if now["Ready"]["status"] == "True" else 1), now
    for kind, condition in now.items():
        if kind in was and was[kind]["status"] == condition["status"]:
            assert condition["lastTransitionTime"] == was[kind]["lastTransitionTime"]
    assert found["status"]["observedGeneration"] >= ((before or {}).get("status") or {}).get("observedGeneration", -1)
    if now["Ready"]["status"] == "True" and found["status"]["observedGeneration"] == found["metadata"]["generation"]:
        assert found["status"]["server"]["pods"] == "{0}/{0}".format(found["spec"]["server"]["replicas"])


def lately(moments, found):
    """Yield the moments that a status written now may be about: of this generation, and not longer ago than news takes."""
    now = moments[-1][0].at
    for revision, objects in reversed(moments):
        model = objects.get(("TFModel", found["metadata"]["name"]))
        if model is None or model.body["metadata"]["generation"] != found["metadata"]["generation"] or revision.at < now - LATE_SECONDS:
            return
        yield objects


def so(found, objects, recorder):
    """Tell whether at one moment all was as the spec of ``found`` asks: by the objects and the agents, not by any status of ours."""
    spec, name = found["spec"], found["metadata"]["name"]
    deployment, config = objects.get(("Deployment", name)), objects.get(("ConfigMap", f"{name}-models"))
    if deployment is None or config is None:
        return False
    made, replicas = deployment.body, spec["server"]["replicas"]
    template = made["spec"]["template"]
    (server,) = template["spec"]["containers"]
    applied = made["spec"]["replicas"] == replicas and server["resources"]["requests"]["cpu"] == spec["server"]["resources"]["requests"]["cpu"]
    observed = made.get("status", {}).get("observedGeneration") == made["metadata"]["generation"]
    pods = [r.body for (kind, _), r in objects.items() if kind == "Pod" and "deletionTimestamp" not in r.body["metadata"]]
    running = len(pods) == replicas and all(is_of(pod, server) and is_ready(pod) for pod in pods)
    digest = agent_config.content_hash(config.body["data"]["models.config"], config.body["data"]["agent.json"])
    (entry,) = model_config.from_text(config.body["data"]["models.config"])
    asked = spec.get("versionPolicy", {}).get("specific", {}).get("versions")
    published = asked is None or not replicas or set(entry.version_policy.versions) == set(asked)
    return applied and observed and running and published and all(serves(pod, digest, asked, recorder) for pod in pods)


def is_of(pod, server):
    (running,) = pod["spec"]["containers"]
    return running["image"] == server["image"] and running["resources"]["requests"] == server["resources"]["requests"]


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))


def serves(pod, digest, asked, recorder):
    """Tell whether the pod's agent has ever said, under this config, that every version that is asked for is AVAILABLE."""
    for word in recorder.words.get(pod["metadata"]["uid"], []):
        if word.state is None or word.state["config_hash"] != digest or not word.state["settled"]:
            continue
        (model,) = word.state["models"]
        states = {version["version"]: version for version in model["versions"]}
        wanted = set(asked or ()) | {number for number, version in states.items() if version["wanted"]}
        if wanted and all(states.get(number, {}).get("state") == "AVAILABLE" for number in wanted):
            return True
    return False


def explain(revision, objects, recorder):
    names = sorted(f"{kind}/{name}@{one.version}" for (kind, name), one in objects.items())
    words = {uid: [(round(word.at - revision.at, 2), word.state and word.state["step"]) for word in said][-3:] for uid, said in recorder.words.items()}
    return json.dumps({"revision": revision.version, "status": revision.body["status"], "objects": names, "agents": words}, indent=1)


# In words that help


def stalled(bench, reason, timeout=60):
    found = bench.cluster.wait_for(
        f"Stalled with {reason}", lambda: bench.condition("Stalled"), timeout, done=lambda found: found.get("reason") == reason
    )
    assert bench.condition("Reconciling") == {}
    return found["message"]


def test_a_spec_that_the_api_server_refuses_is_stalled_at_once(model):
    model.tfmodel(server={"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}})
    assert "must be less than or equal to memory limit" in stalled(model, "RejectedByAPIServer", timeout=15)
    model.tfmodel(server=SMALL)
    model.wait_ready()
    assert model.condition("Stalled") == {}


def test_pods_that_a_quota_forbids_are_told(model):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": model.namespace}, "spec": {"hard": {"pods": "0"}}}
    model.cluster.apply(quota)
    model.tfmodel(server=SMALL)
    message = stalled(model, "RejectedByAPIServer")
    assert "pods can't be made" in message
    assert "exceeded quota: none" in message
    model.kubectl("delete", "resourcequota", "none")
    model.wait_ready(timeout=180)  # the Deployment's controller tries again with back-off


def test_an_image_that_cannot_be_had_is_told_and_the_old_one_goes_on_serving(served):
    served.tfmodel(server={**SMALL, "image": "localhost/no/such:image"})
    message = served.wait_reason("ImagePullFailed")
    assert "container model-server" in message
    assert "localhost/no/such:image" in message
    assert "check spec.server.image" in message
    assert served.condition("Available")["status"] == "True"
    assert served.condition("Reconciling")["status"] == "True"
    served.kubectl("patch", "deployment", "half", "--type=merge", "-p", '{"spec": {"progressDeadlineSeconds": 5}}')
    assert "has timed out progressing" in stalled(served, "ImagePullFailed")
    served.tfmodel(server=SMALL)
    served.wait_ready()


def test_a_server_that_crashes_is_told_with_its_last_words(model):
    broken = {"env": [{"name": "PYTHONHOME", "value": "/nowhere"}]}  # the stand-in is written in Python
    model.tfmodel(server={**SMALL, "pod": broken})
    message = model.wait_reason("CrashLoopBackOff", timeout=120)
    assert "container model-server has been restarted" in message
    assert "it ended last with exit code 1 (Error)" in message
    assert "ModuleNotFoundError: No module named 'encodings'" in message
    model.tfmodel(server=SMALL)
    model.wait_ready()


def agent(bench, pod, number):
    """Send a signal to the agent of a pod, whose containers see each other's processes."""
    script = (
        "import os, pathlib\n"
        "for process in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    if int(process.name) != os.getpid() and b'tfmodel_agent' in (process / 'cmdline').read_bytes():\n"
        f"        os.kill(int(process.name), {int(number)})\n"
    )
    bench.kubectl("exec", pod, "-c", "model-server", "--", "python3", "-c", script)


def test_a_silent_agent_is_told(served):
    (pod,) = served.get("pods")["items"]
    name = pod["metadata"]["name"]
    agent(served, name, signal.SIGSTOP)
    message = served.wait_reason("AgentUnreachable")
    assert f"pod {name}" in message
    assert "port 8502" in message
    agent(served, name, signal.SIGCONT)
    served.wait_ready()


def test_a_bad_warmup_file_is_told_and_the_old_version_goes_on_serving(served, half_plus_two):
    staged = served.directory / "half/uploading"
    (staged / "assets.extra").mkdir(parents=True)
    (staged / "saved_model.pb").write_bytes(half_plus_two)
    (staged / "assets.extra/tf_serving_warmup_requests").write_bytes(b"no TFRecord, and long enough to have a header")
    staged.rename(served.directory / "half/3")
    message = stalled(served, "WarmupInvalid")
    assert "version 3" in message
    assert "version 2 goes on serving" in message
    assert served.condition("Available")["status"] == "True"
    shutil.rmtree(served.directory / "half/3")
    served.wait_ready()


def test_kubectl_wait_ends_with_the_truth(model):
    model.tfmodel(server=SMALL)
    model.kubectl("wait", "--for=condition=Ready", "tfmodel/half", "--timeout=120s")
    assert model.answers([1.0]) == [2.5]
    generation = model.get("tfmodel", "half")["metadata"]["generation"]
    model.tfmodel(server=SMALL, versionPolicy={"specific": {"versions": [1]}})
    model.kubectl("wait", "--for=condition=Ready", "tfmodel/half", "--timeout=120s")
    found = model.get("tfmodel", "half")
    assert found["metadata"]["generation"] == found["status"]["observedGeneration"] == generation + 1
    assert found["status"]["promotedVersion"] == 1


def test_status_reads_well_in_describe(served):
    described = served.kubectl("describe", "tfmodel", "half")
    assert "version 2 AVAILABLE on all 1 pods" in described
    rows = served.kubectl("get", "tfm", "-o", "wide").splitlines()
    assert rows[0].split()[:6] == ["NAME", "READY", "VERSION", "CANDIDATE", "PODS", "REASON"]
    assert rows[1].split()[:5] == ["half", "True", "2", "1/1", "AsDesired"]
    assert "tensorflow/serving:2.19.1" in rows[1]
