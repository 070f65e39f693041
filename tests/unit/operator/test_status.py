"""Conditions follow from facts; each row is a situation a user may be in."""

from __future__ import annotations

import pytest

from tests.unit.operator.makers import pod, seen, version
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Finding, Reason, Type
from tfmodel_operator.status import status

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
UNBOUND = Finding("False", Reason.SOURCE_UNAVAILABLE, 'persistentvolumeclaim "models" not found')
NO_IMAGE = Finding("False", Reason.IMAGE_PULL_FAILED, "container model-server: not found")
FULL = Finding("False", Reason.WAITING_FOR_PODS, "0/1 nodes are available: 1 Insufficient cpu.")
REFUSED = Finding("False", Reason.REJECTED_BY_API_SERVER, "spec.template: Invalid value")


def waiting(problem):
    return facts.PodFacts("half-1", problem=problem, agent_message="the pod has no address yet")


@pytest.mark.parametrize(
    ("found", "ready", "reason", "says", "kstatus"),
    [
        pytest.param(seen(pod("a", version(1))), "True", Reason.AS_DESIRED, "version 1 AVAILABLE on all 1 pods", None, id="served"),
        pytest.param(seen(replicas=0), "True", Reason.AS_DESIRED, "scaled to zero", None, id="scaled to zero"),
        pytest.param(seen(waiting(UNBOUND)), "False", Reason.SOURCE_UNAVAILABLE, "not found", Type.RECONCILING, id="no claim"),
        pytest.param(seen(waiting(NO_IMAGE)), "False", Reason.IMAGE_PULL_FAILED, "not found", Type.RECONCILING, id="no image"),
        pytest.param(seen(waiting(FULL)), "False", Reason.WAITING_FOR_PODS, "Insufficient", Type.RECONCILING, id="no room"),
        pytest.param(
            seen(pod("a", version(1)), config_problem=REFUSED),
            "False", Reason.REJECTED_BY_API_SERVER, "Invalid value", Type.STALLED, id="the API server refuses the Deployment",
        ),
        pytest.param(
            seen(pod("a", ready=False, source_message="base path /models/models/half does not exist")),
            "False", Reason.SOURCE_UNAVAILABLE, "does not exist (PersistentVolumeClaim models, path half)", Type.RECONCILING, id="no base path",
        ),
        pytest.param(
            seen(pod("a", ready=False)), "False", Reason.NO_VERSION_FOUND, "holds no version directory", Type.RECONCILING, id="no version"
        ),
        pytest.param(
            seen(pod("a", version(7, "", "Missing"), ready=False)),
            "False", Reason.NO_VERSION_FOUND, "version 7 is not in PersistentVolumeClaim models", Type.RECONCILING, id="a version that is not there",
        ),
        pytest.param(
            seen(pod("a", version(7, "", "Rejected", wanted=False, message="saved_model.pb can't be parsed"), ready=False)),
            "False", Reason.VERSION_REJECTED, "7 is Rejected: saved_model.pb can't be parsed", Type.STALLED, id="broken",
        ),
        pytest.param(
            seen(pod("a", version(7, "", "Incomplete", wanted=False, message="saved_model.pb is missing"), ready=False)),
            "False", Reason.VERSION_INCOMPLETE, "7 is Incomplete: saved_model.pb is missing", Type.RECONCILING, id="half copied",
        ),
        pytest.param(
            seen(pod("a", version(1, "LOADING"), ready=False)), "False", Reason.MODEL_LOADING, "version 1 is LOADING", Type.RECONCILING, id="loading"
        ),
        pytest.param(
            seen(pod("a", version(1, "END", message="failed to load: no SavedModel"), ready=False)),
            "False", Reason.MODEL_LOAD_FAILED, "pod a: version 1 failed to load: no SavedModel", Type.STALLED, id="failed",
        ),
        pytest.param(
            seen(pod("a", version(1), config_hash="older")), "False", Reason.WAITING_FOR_PODS, "new config", Type.RECONCILING, id="config on its way"
        ),
        pytest.param(
            seen(pod("a", version(1)), template_running=False),
            "False", Reason.WAITING_FOR_PODS, "still replacing pods", Type.RECONCILING, id="template on its way",
        ),
        pytest.param(
            seen(pod("a", version(1)), replicas=2), "False", Reason.WAITING_FOR_PODS, "there are 1 pods and should be 2", Type.RECONCILING, id="a pod is missing"
        ),
        pytest.param(
            seen(pod("a", version(1)), facts.PodFacts("b", ready=True, agent_message="timeout")),
            "False", Reason.AGENT_UNREACHABLE, "pod b: timeout", Type.RECONCILING, id="an agent is silent",
        ),
        pytest.param(
            seen(pod("a", version(1), suspect="a reload has had no answer for 600 s")),
            "False", Reason.SERVER_SUSPECT, "no answer", Type.RECONCILING, id="a server is suspect",
        ),
        pytest.param(
            seen(pod("a", version(1, ""), ready=False, server_message="the model server does not answer")),
            "False", Reason.WAITING_FOR_PODS, "does not answer", Type.RECONCILING, id="a server is starting",
        ),
        pytest.param(
            seen(pod("a", version(1), settled=False)), "False", Reason.ROLLING_OUT, "pod a: still moving", Type.RECONCILING, id="moving"
        ),
        pytest.param(
            seen(pod("a", version(1), ready=False)), "False", Reason.WAITING_FOR_PODS, "pod a is not ready yet", Type.RECONCILING, id="not ready yet"
        ),
    ],
)  # fmt: skip
def test_ready(found, ready, reason, says, kstatus):
    findings = status.findings(found)
    assert (findings[Type.READY].status, findings[Type.READY].reason) == (ready, reason)
    assert says in findings[Type.READY].message
    assert {kind for kind in (Type.RECONCILING, Type.STALLED) if kind in findings} == ({kstatus} if kstatus else set())


def test_a_bad_new_version_leaves_the_model_available():
    found = seen(pod("a", version(2, "END", message="failed to load: broken"), version(1, wanted=False)))
    findings = status.findings(found)
    assert findings[Type.AVAILABLE].status == "True"
    assert findings[Type.READY].status == "False"
    assert status.promoted_version(found) == 1


def test_what_no_agent_told_is_unknown():
    findings = status.findings(seen(facts.PodFacts("a", ready=True, agent_message="timeout")))
    kinds = (Type.AVAILABLE, Type.VERSIONS_VERIFIED, Type.MODEL_AVAILABLE)
    assert {findings[kind].status for kind in kinds} == {"Unknown"}


def test_pods_that_answer_with_different_versions_have_no_promoted_version():
    assert status.promoted_version(seen(pod("a", version(2), version(1)), pod("b", version(1)))) is None


def test_a_version_is_as_far_as_the_pod_that_is_least_far():
    found = seen(pod("a", version(2), version(1)), pod("b", version(2, "LOADING"), version(1)))
    assert [(v["version"], v["state"], v["pods"], v["of"]) for v in status.version_states(found)] == [
        (2, "LOADING", 1, 2), (1, "AVAILABLE", 2, 2),
    ]  # fmt: skip


def test_times_move_only_with_status_and_equal_facts_give_an_equal_status():
    loading = status.status(seen(pod("a", version(1, "LOADING"), ready=False)), {}, {}, NOW)
    assert status.status(seen(pod("a", version(1, "LOADING"), ready=False)), loading, {}, LATER) == loading
    served = status.status(seen(pod("a", version(1))), loading, {}, LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in served["conditions"]}
    assert times["Ready"] == LATER
    assert times["ConfigValid"] == NOW
    assert "Reconciling" not in times


def test_an_invalid_spec_keeps_what_was_said_of_the_servers():
    before = status.status(seen(pod("a", version(1))), {}, {}, NOW)
    found = status.invalid(before, Finding("False", Reason.INVALID_SPEC, "change it"), 9, LATER)
    conditions = {c["type"]: c for c in found["conditions"]}
    assert found["promotedVersion"] == 1
    assert (conditions["Stalled"]["status"], conditions["Ready"]["status"], conditions["Available"]["status"]) == (
        "True",
        "False",
        "True",
    )
    assert found["observedGeneration"] == conditions["Ready"]["observedGeneration"] == 9
