"""Which changes of status become Events."""

from __future__ import annotations

import pytest

from tests.unit.operator.makers import pod, seen, silent, version
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.status import status
from tfmodel_operator.status.events import Event, events

NO_IMAGE = silent(problem=Finding("False", Reason.IMAGE_PULL_FAILED, "container model-server: not found"))
NO_GPU = silent(problem=Finding("False", Reason.WAITING_FOR_ACCELERATOR, "1 Insufficient nvidia.com/gpu."))
SERVED = seen(pod("a", version(1)))
LOADING = seen(pod("a", version(1, "LOADING"), ready=False))
FAILED = seen(pod("a", version(2, "END", message="failed to load: broken", reason="ModelLoadFailed"), version(1)))
STARTING = seen(silent("a"))


def rolling(reason):
    """A server that serves while its rollout is at something."""
    return seen(pod("a", version(1)), rollout=facts.Rollout(Finding("False", reason, "step")))


LATE = seen(NO_GPU, deployment={"overdue": "timed out progressing."})


def of(found):
    return status.status(found, {}, {}, "2026-01-01T00:00:00Z") if found else {}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(None, STARTING, [], id="a new model starts"),
        pytest.param(STARTING, LOADING, [], id="ordinary progress"),
        pytest.param(LOADING, STARTING, [], id="ordinary regress"),
        pytest.param(LOADING, SERVED, [("Normal", "AsDesired")], id="ready"),
        pytest.param(SERVED, SERVED, [], id="nothing new"),
        pytest.param(SERVED, seen(pod("a", version(1)), silent("b")), [("Normal", "WaitingForPods")], id="ready no more, by a change asked for"),
        pytest.param(SERVED, FAILED, [("Warning", "ModelLoadFailed")], id="a bad new version, and the old one goes on serving"),
        pytest.param(SERVED, LOADING, [("Normal", "ModelLoading"), ("Warning", "ModelLoading")], id="nothing answers any more"),
        pytest.param(None, seen(NO_IMAGE), [("Warning", "ImagePullFailed")], id="trouble from the start"),
        pytest.param(STARTING, seen(NO_IMAGE), [("Warning", "ImagePullFailed")], id="trouble while it starts"),
        pytest.param(seen(NO_IMAGE), seen(NO_GPU), [("Warning", "WaitingForAccelerator")], id="another trouble"),
        pytest.param(seen(NO_GPU), LATE, [("Warning", "WaitingForAccelerator")], id="trouble becomes final"),
        pytest.param(LATE, LATE, [], id="final already"),
        pytest.param(SERVED, seen(), [("Normal", "AsDesired")], id="scaled to zero"),
        pytest.param(SERVED, rolling(Reason.ROLLING_OUT), [("Normal", "RollingOut")], id="a rollout begins"),
        pytest.param(rolling(Reason.ROLLING_OUT), rolling(Reason.PAUSED), [], id="and is paused"),
        pytest.param(
            rolling(Reason.ROLLING_OUT), rolling(Reason.WAITING_FOR_APPROVAL), [("Normal", "WaitingForApproval")], id="somebody has to approve"
        ),
        pytest.param(rolling(Reason.WAITING_FOR_APPROVAL), rolling(Reason.WAITING_FOR_APPROVAL), [], id="and has not yet"),
        pytest.param(rolling(Reason.ROLLING_OUT), rolling(Reason.COMPARISON_FAILED), [("Warning", "ComparisonFailed")], id="a version is refused"),
    ],
)
def test_events(before, after, expected):
    assert [(event.type, event.reason) for event in events(of(before), of(after))] == expected


def test_an_event_says_what_the_condition_says():
    (event,) = events(of(STARTING), of(seen(NO_IMAGE)))
    assert event == Event("Warning", "ImagePullFailed", "pod half-1: container model-server: not found")


def test_messages_fit_into_an_event():
    long = silent(problem=Finding("False", Reason.IMAGE_PULL_FAILED, "x" * 3000))
    (event,) = events({}, of(seen(long)))
    assert len(event.message) == 1024


def test_the_status_of_another_build_does_no_harm():
    odd = {"conditions": [{"type": "Ready", "status": "False", "reason": "OddReason", "message": "odd", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    assert [event.reason for event in events(of(SERVED), odd)] == ["OddReason"]
    assert events(odd, {}) == ()
