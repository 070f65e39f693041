"""What stored Deployments and pods say, in the forms in which real controllers and kubelets write them."""

from __future__ import annotations

import datetime

import pytest

from tests.unit.operator.makers import agent, tfmodel, version
from tfmodel_operator.api import facts, labels
from tfmodel_operator.api.conditions import Reason
from tfmodel_operator.observe import agents, observe, pods, workload

GPU_WORDS = (
    "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {a: b}. preemption: 0/3 nodes are "
    "available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
)


def deployment(generation=2, replicas=1, template="t1", conditions=(), deleted=False, limits=None, **status):
    counted = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "conditions": list(conditions)}
    container = {"name": "model-server", "image": "tensorflow/serving:2.19.1", "resources": {"limits": limits or {}}}
    return {
        "metadata": {"name": "half", "generation": generation, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})},
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"annotations": {labels.TEMPLATE: template}},
                "spec": {"containers": [{"name": "injected", "image": "mesh"}, container]},
            },
        },
        "status": {**counted, **status},
    }


def a_pod(template="t1", name="half-1", **status):
    metadata = {"name": name, "uid": f"uid-of-{name}", "annotations": {labels.TEMPLATE: template}}
    return {"metadata": metadata, "status": status}


def container(name="model-server", **given):
    return {"name": name, "ready": False, "started": False, "restartCount": 0, **given}


def waiting(reason, message="", **given):
    return container(state={"waiting": {"reason": reason, "message": message}}, **given)


def unschedulable(message):
    return a_pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])


def ended(code=139, reason="Error", message="", seconds=5):
    terminated = {"exitCode": code, "reason": reason, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"}
    return {"terminated": {**terminated, **({"message": message} if message else {})}}


LOADED = "2026-11-30 19:12:49.758215: I harness.cc:105] Successfully loaded servable version {name: half version: 1}\n"
CHECK_FAILED = "F0000 00:00:1796065971.860894    2154 control_flow_ops.cc:737] Abort_op intentional failure\n"
FRAME = "    @     0x7f014e12de95  tensorflow::AbortOp::Compute()\n"


@pytest.mark.parametrize(
    ("pod", "reason", "says"),
    [
        pytest.param(unschedulable(GPU_WORDS), Reason.WAITING_FOR_ACCELERATOR, GPU_WORDS, id="no GPU"),
        pytest.param(
            unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/mig-1g.10gb."), Reason.WAITING_FOR_ACCELERATOR, "mig", id="no MIG slice"
        ),
        pytest.param(unschedulable("0/1 nodes are available: 1 cannot allocate all claims."), Reason.WAITING_FOR_ACCELERATOR, "claims", id="no device"),
        pytest.param(unschedulable("0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."), Reason.WAITING_FOR_PODS, "cpu", id="no CPU"),
        pytest.param(unschedulable("0/1 nodes are available: 1 Insufficient hugepages-2Mi."), Reason.WAITING_FOR_PODS, "huge", id="no huge pages"),
        pytest.param(unschedulable('persistentvolumeclaim "models" not found'), Reason.SOURCE_UNAVAILABLE, '"models"', id="no claim"),
        pytest.param(
            unschedulable("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"),
            Reason.SOURCE_UNAVAILABLE, "unbound", id="claim not bound",
        ),
        pytest.param(
            unschedulable("0/1 nodes are available: 1 node(s) had volume node affinity conflict."), Reason.SOURCE_UNAVAILABLE, "affinity", id="volume elsewhere"
        ),
        pytest.param(
            a_pod(containerStatuses=[waiting("ImagePullBackOff", 'Back-off pulling image "x"')]),
            Reason.IMAGE_PULL_FAILED, 'container model-server: Back-off pulling image "x"; check spec.server.image', id="no image",
        ),
        pytest.param(
            a_pod(initContainerStatuses=[waiting("ErrImagePull", "not found", name="agent")]),
            Reason.IMAGE_PULL_FAILED, "check the image of the operator", id="no image of the agent",
        ),
        pytest.param(
            a_pod(containerStatuses=[waiting("CreateContainerConfigError", 'secret "s" not found')]),
            Reason.WAITING_FOR_PODS, 'container model-server: secret "s" not found', id="no secret",
        ),
        pytest.param(
            a_pod(containerStatuses=[waiting("CrashLoopBackOff", restartCount=2, lastState=ended(message="F: no such flag\n"))]),
            Reason.CRASH_LOOP_BACK_OFF,
            "model-server has been restarted 2 times; it ended last with exit code 139 (Error): F: no such flag; `kubectl logs --previous`",
            id="crashing",
        ),
        pytest.param(
            a_pod(containerStatuses=[waiting("CrashLoopBackOff", restartCount=2, lastState=ended(message=f"{LOADED}{CHECK_FAILED}{9 * FRAME}"))]),
            Reason.CRASH_LOOP_BACK_OFF, f"(Error): {' '.join(f'{CHECK_FAILED}{FRAME}'.split())}", id="crashing with a stack trace",
        ),
        pytest.param(
            a_pod(containerStatuses=[waiting("CrashLoopBackOff", restartCount=2, lastState=ended(message=f"{9 * LOADED}bad_alloc\n"))]),
            Reason.CRASH_LOOP_BACK_OFF, "{name: half version: 1} bad_alloc; `kubectl logs", id="crashing after much else",
        ),
        pytest.param(
            a_pod(containerStatuses=[container(state={"running": {}}, restartCount=3, lastState=ended())]),
            Reason.CRASH_LOOP_BACK_OFF, "restarted 3 times", id="crashing, and running between two crashes",
        ),
        pytest.param(
            a_pod(containerStatuses=[waiting("CrashLoopBackOff", restartCount=1, lastState=ended(137, "OOMKilled"))]),
            Reason.CRASH_LOOP_BACK_OFF, "exit code 137 (OOMKilled): raise the memory limit", id="out of memory",
        ),
        pytest.param(a_pod(containerStatuses=[waiting("CrashLoopBackOff")]), Reason.CRASH_LOOP_BACK_OFF, "restarted 0 times", id="crashing, nothing known"),
    ],
)  # fmt: skip
def test_why_a_pod_does_not_start(pod, reason, says):
    found = pods.problem(pod)
    assert (found.status, found.reason) == ("False", reason)
    assert says in found.message


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(a_pod(), id="new"),
        pytest.param({"metadata": {"name": "a", "uid": "u"}}, id="without any status"),
        pytest.param(a_pod(containerStatuses=[waiting("ContainerCreating")]), id="starting"),
        pytest.param(a_pod(initContainerStatuses=[container("agent", state={"running": {}})], containerStatuses=[waiting("PodInitializing")]), id="initialising"),
        pytest.param(a_pod(containerStatuses=[container(ready=True, restartCount=9, lastState=ended())]), id="recovered"),
        pytest.param(a_pod(containerStatuses=[container(restartCount=9, lastState=ended(seconds=3599))]), id="ended after an hour"),
        pytest.param(a_pod(containerStatuses=[container(restartCount=9, lastState={"terminated": {"startedAt": None}})]), id="times not known"),
    ],
)
def test_a_pod_with_which_nothing_is_wrong(pod):
    assert pods.problem(pod) is None


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({}, "about to be started"),
        ({"containerStatuses": [waiting("ContainerCreating")]}, "model-server is in ContainerCreating"),
        ({"initContainerStatuses": [container("agent", ready=True, started=True)], "containerStatuses": [container()]}, "model-server is starting"),
        ({"containerStatuses": [container(lastState=ended(134))]}, "model-server is starting again, after exit code 134 (Error)"),
        ({"containerStatuses": [container(ready=True)], "conditions": [{"type": "ContainersReady", "status": "True"}]}, "its node may be lost"),
    ],
)
def test_how_far_a_pod_is(status, says):
    assert says in pods.phase(a_pod(**status))


@pytest.mark.parametrize(
    ("found", "observed"),
    [(deployment(), True), (deployment(generation=3), False), (deployment(deleted=True), False), (deployment(observedGeneration=3), True)],
    ids=["seen", "changed since", "on its way out", "known to be newer"],
)
def test_a_deployment_speaks_only_of_what_its_controller_has_seen(found, observed):
    assert workload.deployment_facts(found).observed is observed


def test_no_deployment():
    assert workload.deployment_facts(None).observed is False


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": 'ReplicaSet "half-1" has timed out progressing.'}
QUOTA = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": 'pods "half-1-" is forbidden: exceeded quota'}


def test_a_deployment_that_makes_no_progress_says_so():
    assert workload.deployment_facts(deployment(conditions=[LATE])).overdue == 'ReplicaSet "half-1" has timed out progressing.'
    assert workload.deployment_facts(deployment(conditions=[{**LATE, "message": ""}])).overdue
    assert workload.deployment_facts(deployment(conditions=[LATE], generation=3)).overdue == "", "that was said of an earlier template"
    going = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "fine"}
    assert workload.deployment_facts(deployment(conditions=[going])).overdue == ""


def test_a_deployment_that_may_not_make_pods_says_so():
    problem = workload.deployment_facts(deployment(conditions=[QUOTA])).problem
    assert (problem.reason, problem.message) == (Reason.REJECTED_BY_API_SERVER, 'pods can\'t be made: pods "half-1-" is forbidden: exceeded quota')
    assert workload.deployment_facts(deployment(conditions=[QUOTA], generation=3)).problem is None


def test_what_a_pod_asks_for():
    found = workload.deployment_facts(deployment(limits={"cpu": "2", "nvidia.com/gpu": "1", "amd.com/gpu": 2}))
    assert (found.accelerator, found.image) == ("2 amd.com/gpu, 1 nvidia.com/gpu", "tensorflow/serving:2.19.1")


def test_the_wanted_pods_are_the_live_deployments():
    assert workload.deployment_facts(deployment(replicas=5)).wanted == 5
    without = deployment()
    del without["spec"]["replicas"]
    assert workload.deployment_facts(without).wanted == 1


@pytest.mark.parametrize(
    ("pod", "of", "current"),
    [
        (a_pod("t1"), deployment(template="t1"), True),
        (a_pod("t0"), deployment(template="t1"), False),
        (a_pod("t1"), None, False),
        ({"metadata": {"name": "a"}}, deployment(), False),
        ({"metadata": {"name": "a"}}, {"metadata": {}, "spec": {"template": {}}}, False),
    ],
    ids=["of the template", "of an older one", "no Deployment", "unmarked", "neither marked"],
)
def test_a_pod_is_of_the_template_it_names(pod, of, current):
    assert workload.current(pod, of) is current


def test_a_pod_is_of_the_config_it_names():
    fixed = deployment(template="t1")
    fixed["spec"]["template"]["metadata"]["annotations"][labels.CONFIG] = "half-models-1"
    mine = a_pod("t1")
    mine["metadata"]["annotations"][labels.CONFIG] = "half-models-1"
    assert workload.current(mine, fixed)
    assert not workload.current(a_pod("t1"), fixed)
    assert not workload.current(mine, deployment(template="t1"))


@pytest.mark.parametrize(
    ("status", "crash", "crashed_at"),
    [
        pytest.param(container(ready=True, state={"running": {}}), "", None, id="never"),
        pytest.param(container(ready=True, restartCount=1, lastState=ended(seconds=5)), "", 5, id="once"),
        pytest.param(container(restartCount=1, state=ended(seconds=9), lastState=ended(seconds=5)), "", 9, id="again, just now"),
        pytest.param(waiting("CrashLoopBackOff", restartCount=2, lastState=ended(seconds=7)), "it has been restarted 2 times", 7, id="in back-off"),
        pytest.param(container(restartCount=3, lastState=ended(seconds=7)), "it has been restarted 3 times", 7, id="between two crashes"),
        pytest.param(container("agent", restartCount=9, lastState=ended(seconds=7)), "", None, id="another container"),
        pytest.param(container(state={}, lastState={}), "", None, id="nothing is known"),
    ],
)
def test_crashes_are_the_model_servers_own(status, crash, crashed_at):
    found = a_pod(containerStatuses=[status])
    assert pods.crash(found)[: len("it has been restarted 2 times")] == crash
    zero = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
    assert pods.crashed_at(found) == (None if crashed_at is None else zero + crashed_at)


def test_a_pod_for_which_there_is_no_room_is_told_from_one_that_waits():
    assert pods.unschedulable(unschedulable(GPU_WORDS))
    waits = a_pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}])
    assert not pods.unschedulable(waits)
    assert not pods.unschedulable(a_pod())


def test_facts_put_it_together():
    def report(uid):
        return agents.Report(agent(version(1)), "") if uid == "uid-of-a" else agents.Report()

    started = container("agent", started=True)
    found = observe.observe(
        tfmodel(), deployment(replicas=2),
        observe.pod_facts(
            deployment(replicas=2),
            (a_pod(name="b", template="t0", initContainerStatuses=[started]), a_pod(name="a", conditions=[{"type": "Ready", "status": "True"}])),
            report,
        ),
        config_hash="hash", config_problem=None, rollout=facts.Rollout(labels={"stable": 1}),
    )  # fmt: skip
    assert [(p.name, p.current, p.ready, p.agent_started, p.agent is None) for p in found.pods] == [
        ("a", True, True, False, False), ("b", False, False, True, True),
    ]  # fmt: skip
    assert found.deployment.wanted == 2
    assert found.rollout.labels == {"stable": 1}
    assert [name for name, _ in found.reports] == ["a"]


OWNER = {"kind": "ReplicaSet", "name": "half-7d9", "controller": True}


@pytest.mark.parametrize(
    ("owners", "template", "belongs"),
    [
        pytest.param([OWNER], "7d9", True, id="of the Deployment's ReplicaSet"),
        pytest.param([], "7d9", False, id="of nobody: anybody may label a pod"),
        pytest.param([{**OWNER, "name": "other-7d9"}], "7d9", False, id="of another Deployment"),
        pytest.param([{**OWNER, "kind": "Job"}], "7d9", False, id="of a Job of that name"),
        pytest.param([{**OWNER, "controller": False}], "7d9", False, id="of one that doesn't control it"),
        pytest.param([OWNER], None, False, id="without the ReplicaSet's label"),
    ],
)
def test_whose_pod_it_is(owners, template, belongs):
    marks = {labels.SERVER: "half", **({"pod-template-hash": template} if template else {})}
    assert workload.belongs_to({"metadata": {"labels": marks, "ownerReferences": owners}}, "half") is belongs
