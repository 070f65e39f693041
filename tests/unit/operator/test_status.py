"""Conditions follow from facts; each row is a situation a user may be in."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.makers import pod, seen, silent, version
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Finding, Reason, Type
from tfmodel_operator.status import status

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
UNBOUND = Finding("False", Reason.SOURCE_UNAVAILABLE, 'persistentvolumeclaim "models" not found')
NO_IMAGE = Finding("False", Reason.IMAGE_PULL_FAILED, "container model-server: not found")
NO_GPU = Finding("False", Reason.WAITING_FOR_ACCELERATOR, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
CRASHING = Finding("False", Reason.CRASH_LOOP_BACK_OFF, "container model-server has been restarted 4 times")
FULL = Finding("False", Reason.WAITING_FOR_PODS, "0/1 nodes are available: 1 Insufficient cpu.")
REFUSED = Finding("False", Reason.REJECTED_BY_API_SERVER, "spec.template: Invalid value")
QUOTA = Finding("False", Reason.REJECTED_BY_API_SERVER, "pods can't be made: exceeded quota")
LATE = 'ReplicaSet "half-1" has timed out progressing.'
RECONCILING, STALLED = Type.RECONCILING, Type.STALLED


def waiting(problem):
    return silent(problem=problem)


def broken(number=7, verdict="Rejected", message="saved_model.pb can't be parsed", reason="", state=""):
    return version(number, state, verdict, wanted=False, message=message, reason=reason)


@pytest.mark.parametrize(
    ("found", "reason", "says", "kstatus"),
    [
        pytest.param(seen(pod("a", version(1))), Reason.AS_DESIRED, "version 1 AVAILABLE on all 1 pods", None, id="served"),
        pytest.param(seen(), Reason.AS_DESIRED, "scaled to zero", None, id="scaled to zero"),
        pytest.param(seen(deployment={"observed": False}), Reason.ROLLING_OUT, "has not seen", RECONCILING, id="no Deployment yet"),
        pytest.param(seen(waiting(UNBOUND)), Reason.SOURCE_UNAVAILABLE, "not found", RECONCILING, id="no claim"),
        pytest.param(seen(waiting(NO_IMAGE)), Reason.IMAGE_PULL_FAILED, "not found", RECONCILING, id="no image"),
        pytest.param(seen(waiting(NO_IMAGE), deployment={"overdue": LATE}), Reason.IMAGE_PULL_FAILED, LATE, STALLED, id="no image for long"),
        pytest.param(seen(waiting(FULL)), Reason.WAITING_FOR_PODS, "Insufficient cpu", RECONCILING, id="no room"),
        pytest.param(
            seen(waiting(FULL), deployment={"overdue": LATE}),
            Reason.PROGRESS_DEADLINE_EXCEEDED, "Insufficient cpu.; ReplicaSet", STALLED, id="no room for long",
        ),
        pytest.param(
            seen(pod("a", version(1, "LOADING"), ready=False), deployment={"overdue": LATE}),
            Reason.PROGRESS_DEADLINE_EXCEEDED, f"version 1 is LOADING; {LATE}", STALLED, id="loading for too long",
        ),
        pytest.param(
            seen(pod("a", version(1)), waiting(NO_GPU)),
            Reason.WAITING_FOR_ACCELERATOR, "1 Insufficient nvidia.com/gpu.: free one, add a node", RECONCILING, id="no accelerator",
        ),
        pytest.param(
            seen(pod("a", version(1), current=False), waiting(NO_GPU), replicas=1),
            Reason.WAITING_FOR_ACCELERATOR, "the pods of the old template go on serving", RECONCILING, id="no accelerator to roll out",
        ),
        pytest.param(
            seen(*(silent(name, problem=NO_GPU) for name in "abc")),
            Reason.WAITING_FOR_ACCELERATOR, "pod a (and 2 more pods): 0/1", RECONCILING, id="several wait for accelerators",
        ),
        pytest.param(seen(waiting(CRASHING)), Reason.CRASH_LOOP_BACK_OFF, "pod half-1: container", RECONCILING, id="crashing"),
        pytest.param(
            seen(pod("a", version(1)), config_problem=REFUSED),
            Reason.REJECTED_BY_API_SERVER, "Invalid value", STALLED, id="the API server refuses the Deployment",
        ),
        pytest.param(seen(replicas=1, deployment={"problem": QUOTA}), Reason.REJECTED_BY_API_SERVER, "quota", STALLED, id="pods are refused"),
        pytest.param(
            seen(pod("a", ready=False, source_message="base path /models/models/half does not exist")),
            Reason.SOURCE_UNAVAILABLE, "does not exist (PersistentVolumeClaim models, path half)", RECONCILING, id="no base path",
        ),
        pytest.param(seen(pod("a", ready=False)), Reason.NO_VERSION_FOUND, "holds no version directory", RECONCILING, id="no version"),
        pytest.param(
            seen(pod("a", version(7, "", "Missing"), ready=False), policy={"specific": {"versions": [7]}}),
            Reason.NO_VERSION_FOUND, "version 7 is not in PersistentVolumeClaim models", RECONCILING, id="a version that is not there",
        ),
        pytest.param(
            seen(pod("a", version(3)), policy={"specific": {"versions": [2, 3]}}),
            Reason.NO_VERSION_FOUND, "version 2 is not in PersistentVolumeClaim models, path half; version 3 goes on", RECONCILING,
            id="a version the agent does not even speak of",
        ),
        pytest.param(
            seen(pod("a", broken(), ready=False)),
            Reason.VERSION_REJECTED, "pod a: version 7: saved_model.pb can't be parsed; replace its files", STALLED, id="broken",
        ),
        pytest.param(
            seen(pod("a", broken(), version(6))),
            Reason.VERSION_REJECTED, "version 7: saved_model.pb can't be parsed; replace its files, delete it, or ask for another version; "
            "version 6 goes on serving", STALLED, id="the newest is broken",
        ),
        pytest.param(seen(pod("a", version(7), broken(6))), Reason.AS_DESIRED, "version 7", None, id="one that nobody asks for is broken"),
        pytest.param(
            seen(pod("a", version(7), broken(6)), policy={"all": {}}), Reason.VERSION_REJECTED, "version 6", STALLED, id="one of all is broken"
        ),
        pytest.param(
            seen(pod("a", broken(reason="WarmupInvalid", message="record 3 has a wrong CRC"), version(6))),
            Reason.WARMUP_INVALID, "version 7: record 3 has a wrong CRC", STALLED, id="a bad warmup file",
        ),
        pytest.param(
            seen(pod("a", broken(reason="WarmupMissing", message="0 records and should be 3"), version(6))),
            Reason.WARMUP_MISSING, "0 records", STALLED, id="too few warmup records",
        ),
        pytest.param(
            seen(pod("a", broken(reason="SomethingNewer"))), Reason.VERSION_REJECTED, "version 7", STALLED, id="a newer agent's reason"
        ),
        pytest.param(
            seen(pod("a", broken(verdict="Incomplete", message="saved_model.pb is missing"), ready=False)),
            Reason.VERSION_INCOMPLETE, "7 is Incomplete: saved_model.pb is missing", RECONCILING, id="half copied",
        ),
        pytest.param(
            seen(pod("a", broken(verdict="Incomplete"), version(6))), Reason.AS_DESIRED, "version 6", None, id="half copied beside a good one"
        ),
        pytest.param(
            seen(pod("a", version(1, "LOADING"), ready=False)), Reason.MODEL_LOADING, "version 1 is LOADING", RECONCILING, id="loading"
        ),
        pytest.param(
            seen(pod("a", version(1, "END", message="failed to load: no SavedModel", reason="ModelLoadFailed"), ready=False)),
            Reason.MODEL_LOAD_FAILED, "pod a: version 1 failed to load: no SavedModel", STALLED, id="failed",
        ),
        pytest.param(
            seen(pod("a", version(2, "END", message="failed to load: no kernel", reason="ModelLoadFailed", wanted=False), version(1))),
            Reason.MODEL_LOAD_FAILED, "version 2 failed to load: no kernel; version 1 goes on serving", STALLED, id="failed, and held back",
        ),
        pytest.param(
            seen(pod("a", version(1), config_hash="older")), Reason.WAITING_FOR_PODS, "new config", RECONCILING, id="config on its way"
        ),
        pytest.param(
            seen(pod("a", models=())), Reason.WAITING_FOR_PODS, "says nothing of model half", RECONCILING, id="an agent that leaves the model out"
        ),
        pytest.param(
            seen(pod("a", version(1)), deployment={"observed": False}),
            Reason.ROLLING_OUT, "has not seen its last change", RECONCILING, id="template not seen yet",
        ),
        pytest.param(
            seen(pod("a", version(1), current=False), pod("b", version(1), ready=False), replicas=1),
            Reason.ROLLING_OUT, "pod a is of the old template, and pod b of the new one is not ready yet", RECONCILING, id="template on its way",
        ),
        pytest.param(
            seen(pod("a", version(1), current=False), waiting(FULL), replicas=1),
            Reason.ROLLING_OUT, "pod half-1 of the new one is not ready yet: 0/1 nodes are available", RECONCILING, id="no room for the new template",
        ),
        pytest.param(
            seen(pod("a", version(1), current=False), deployment={"updated": 1}),
            Reason.ROLLING_OUT, "pod a is of the old template", RECONCILING, id="the Deployment knows more than the pods tell",
        ),
        pytest.param(
            seen(pod("a", version(1)), deployment={"paused": True}), Reason.ROLLING_OUT, "rollout resume", RECONCILING, id="paused by somebody"
        ),
        pytest.param(
            seen(pod("a", version(1)), replicas=2), Reason.WAITING_FOR_PODS, "there are 1 pods and should be 2", RECONCILING, id="a pod is missing"
        ),
        pytest.param(
            seen(pod("a", version(1)), pod("b", version(1)), replicas=1),
            Reason.WAITING_FOR_PODS, "there are 2 pods and should be 1", RECONCILING, id="a pod too many",
        ),
        pytest.param(
            seen(pod("a", version(1)), deployment={"updated": 0}),
            Reason.WAITING_FOR_PODS, "counts 0 of 1 pods", RECONCILING, id="the pods tell more than the Deployment knows",
        ),
        pytest.param(
            seen(pod("a", version(1)), deployment={"ready": 0}),
            Reason.WAITING_FOR_PODS, "0 of 1 ready pods", RECONCILING, id="the Deployment does not count it as ready yet",
        ),
        pytest.param(
            seen(pod("a", version(1)), silent("b", ready=True, agent_message="timeout")),
            Reason.AGENT_UNREACHABLE, "pod b: timeout; the operator must be let to port 8502", RECONCILING, id="an agent is silent",
        ),
        pytest.param(
            seen(silent("b", agent_started=True, agent_message="timeout")),
            Reason.AGENT_UNREACHABLE, "pod b: timeout", RECONCILING, id="the agent of a pod that is not ready is silent",
        ),
        pytest.param(seen(silent("b")), Reason.WAITING_FOR_PODS, "pod b is starting: container agent", RECONCILING, id="an agent is starting"),
        pytest.param(
            seen(pod("a", version(1), suspect="a reload has had no answer for 600 s")),
            Reason.SERVER_SUSPECT, "no answer", RECONCILING, id="a server is suspect",
        ),
        pytest.param(
            seen(pod("a", version(1, ""), ready=False, server_message="the model server does not answer")),
            Reason.WAITING_FOR_PODS, "does not answer", RECONCILING, id="a server is starting",
        ),
        pytest.param(seen(pod("a", version(1), settled=False)), Reason.ROLLING_OUT, "pod a: still moving", RECONCILING, id="moving"),
        pytest.param(
            seen(pod("a", version(1), ready=False)), Reason.WAITING_FOR_PODS, "pod a is not ready yet", RECONCILING, id="not ready yet"
        ),
        pytest.param(
            seen(pod("a", version(2)), pod("b", version(1))),
            Reason.MODEL_LOADING, "pod b: version 2 is not seen by it yet", RECONCILING, id="pods see different volumes",
        ),
    ],
)  # fmt: skip
def test_ready(found, reason, says, kstatus):
    findings = status.findings(found)
    assert (findings[Type.READY].status, findings[Type.READY].reason) == ("False" if kstatus else "True", reason)
    assert says in findings[Type.READY].message
    assert {kind for kind in (RECONCILING, STALLED) if kind in findings} == ({kstatus} if kstatus else set())
    if kstatus:
        assert findings[kstatus] == Finding("True", reason, findings[Type.READY].message)


def test_a_bad_new_version_leaves_the_model_available():
    found = seen(pod("a", version(2, "END", message="failed to load: broken", reason="ModelLoadFailed"), version(1, wanted=False)))
    findings = status.findings(found)
    assert findings[Type.AVAILABLE].status == "True"
    assert findings[Type.READY].status == "False"
    assert status.promoted_version(found) == 1


@pytest.mark.parametrize(
    ("found", "expected", "reason"),
    [
        pytest.param(seen(pod("a", version(1), current=False), waiting(NO_IMAGE)), "True", Reason.AS_DESIRED, id="the old template serves"),
        pytest.param(seen(pod("a", version(1), config_hash="older")), "True", Reason.AS_DESIRED, id="by the old config"),
        pytest.param(seen(pod("a", version(1), ready=False)), "False", Reason.WAITING_FOR_PODS, id="not in service"),
        pytest.param(seen(pod("a", version(1, "LOADING"))), "False", Reason.MODEL_LOADING, id="in service with nothing loaded"),
        pytest.param(seen(waiting(NO_IMAGE)), "False", Reason.IMAGE_PULL_FAILED, id="the reason is why it is not Ready"),
        pytest.param(seen(silent(ready=True)), "Unknown", Reason.AGENT_UNREACHABLE, id="nobody tells"),
        pytest.param(seen(), "False", Reason.AS_DESIRED, id="scaled to zero"),
    ],
)
def test_available_is_about_what_clients_get(found, expected, reason):
    available = status.findings(found)[Type.AVAILABLE]
    assert (available.status, available.reason) == (expected, reason)


def test_why_nothing_answers_while_a_version_bakes_is_the_pods_to_tell():
    baking = facts.Rollout(Finding("False", Reason.ROLLING_OUT, "version 2 promoted, version 1 still loaded"))
    crashed = dataclasses.replace(pod("a", version(1, ""), version(2, ""), ready=False), phase="container model-server is starting again")
    available = status.findings(seen(crashed, rollout=baking))[Type.AVAILABLE]
    assert available.message == (
        "no pod answers: pod a is not ready: container model-server is starting again; version 2 promoted, version 1 still loaded"
    )


@pytest.mark.parametrize("pods", [(), (pod("a", version(1)),)], ids=["nobody reports", "one of two reports"])
def test_what_no_agent_told_is_unknown(pods):
    findings = status.findings(seen(*pods, silent("b", ready=True)))
    assert {findings[kind].status for kind in (Type.VERSIONS_VERIFIED, Type.MODEL_AVAILABLE)} == {"Unknown"}


def test_what_no_pod_is_there_to_tell_is_unknown_and_pods_that_are_not_made_are_not_ready():
    findings = status.findings(seen(config_problem=REFUSED, deployment={"observed": False}))
    assert {findings[kind].status for kind in (Type.VERSIONS_VERIFIED, Type.MODEL_AVAILABLE)} == {"Unknown"}
    assert (findings[Type.PODS_READY].status, findings[Type.PODS_READY].reason) == ("False", Reason.REJECTED_BY_API_SERVER)
    assert "Invalid value" in findings[Type.PODS_READY].message


def test_what_is_refused_or_incomplete_is_not_said_to_be_about_to_load():
    found = status.findings(seen(pod("a", version(2, "", "Rejected", message="broken", reason="VersionRejected"), version(1))))[Type.MODEL_AVAILABLE]
    assert (found.status, found.reason) == ("False", Reason.VERSION_REJECTED)
    assert "version 2: broken" in found.message


def test_pods_that_answer_with_different_versions_have_no_promoted_version():
    assert status.promoted_version(seen(pod("a", version(2), version(1)), pod("b", version(1)))) is None


def test_times_move_only_with_status_and_equal_facts_give_an_equal_status():
    loading = status.status(seen(pod("a", version(1, "LOADING"), ready=False)), {}, {}, NOW)
    assert status.status(seen(pod("a", version(1, "LOADING"), ready=False)), loading, {}, LATER) == loading
    served = status.status(seen(pod("a", version(1))), loading, {}, LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in served["conditions"]}
    assert times["Ready"] == LATER
    assert times["ConfigValid"] == NOW
    assert "Reconciling" not in times


def test_the_server_as_it_is():
    found = seen(pod("a", version(1)), replicas=3, deployment={"accelerator": "1 nvidia.com/gpu"})
    assert status.status(found, {}, {"grpc": "half.ml.svc:8500"}, NOW)["server"] == {
        "name": "half", "kind": "Dedicated", "replicas": 1, "readyReplicas": 1, "pods": "1/3",
        "image": "tensorflow/serving:2.19.1", "accelerator": "1 nvidia.com/gpu",
    }  # fmt: skip


class TestInvalidSpec:
    """What serves goes on serving, and the status goes on telling."""

    before = status.status(seen(pod("a", version(1))), {}, {}, NOW)

    def conditions(self, *pods):
        found = status.invalid(self.before, Finding("False", Reason.INVALID_SPEC, "change it"), 9, LATER, pods=pods, model_name="half")
        assert found["promotedVersion"] == 1
        assert found["observedGeneration"] == 9
        return {c["type"]: c for c in found["conditions"]}

    def test_it_is_stalled(self):
        found = self.conditions(pod("a", version(1)))
        assert {kind: found[kind]["status"] for kind in ("Stalled", "Ready", "Available")} == {
            "Stalled": "True", "Ready": "False", "Available": "True",
        }  # fmt: skip
        assert found["Ready"]["observedGeneration"] == 9
        assert found["PodsReady"]["observedGeneration"] == 3

    def test_a_pod_that_dies_meanwhile_is_told(self):
        found = self.conditions(pod("a", version(1), ready=False))
        assert (found["Available"]["status"], found["Available"]["reason"]) == ("False", "InvalidSpec")


def test_a_stored_condition_of_another_build_does_no_harm():
    odd = {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Odd", "status": "True"}]}
    found = status.status(seen(pod("a", version(1))), odd, {}, NOW)
    assert {c["lastTransitionTime"] for c in found["conditions"]} == {NOW}
    assert "Odd" not in {c["type"] for c in found["conditions"]}


def test_messages_are_one_line_and_fit():
    long = dataclasses.replace(NO_IMAGE, message="line one\nline\x00 two " + "x" * 5000)
    message = status.findings(seen(waiting(long)))[Type.READY].message
    stored = next(c for c in status.status(seen(waiting(long)), {}, {}, NOW)["conditions"] if c["type"] == "Ready")
    assert len(message) > 4096
    assert len(stored["message"]) == 4096
    assert "line one line two" in stored["message"]
