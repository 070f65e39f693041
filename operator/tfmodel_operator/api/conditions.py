"""Condition types, the closed list of reasons, and how a condition changes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any, Self

from tfmodel_serving import state

MESSAGE_CHARACTERS = 4096
"""As many as the schema of status allows."""


class Type(enum.StrEnum):
    """Condition types. Reconciling and Stalled are kstatus': present only while true."""

    READY = "Ready"
    AVAILABLE = "Available"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    CONFIG_VALID = "ConfigValid"
    VERSIONS_VERIFIED = "VersionsVerified"
    PODS_READY = "PodsReady"
    MODEL_AVAILABLE = "ModelAvailable"


class Severity(enum.Enum):
    """What a reason asks of people."""

    FINE = "Fine"
    MOVING = "Reconciling"  # it takes its time
    TROUBLE = "Reconciling, Warning"  # it may pass, and often doesn't: worth an Event of type Warning
    STALLED = "Stalled"  # waiting alone doesn't cure it: somebody must change something


class Reason(enum.StrEnum):
    """Why a condition is as it is: the closed list. docs/conditions.md says of each what to do."""

    severity: Severity
    meaning: str

    def __new__(cls, word: str, severity: Severity = Severity.FINE, meaning: str = "") -> Self:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.severity, reason.meaning = severity, meaning
        return reason

    AS_DESIRED = "AsDesired", Severity.FINE, "All is as spec asks."
    INVALID_SPEC = "InvalidSpec", Severity.STALLED, "The spec can't be acted on."
    CONFIG_TOO_LARGE = "ConfigTooLarge", Severity.STALLED, "The model config does not fit into a ConfigMap."
    NAME_CONFLICT = (
        "NameConflict",
        Severity.STALLED,
        "An object of a name that is needed belongs to somebody else, or a model of this name is on the shared server already.",
    )
    SERVER_NOT_FOUND = "ServerNotFound", Severity.TROUBLE, "There is no TFModelServer as serverRef or serverSelector says."
    SERVER_FULL = "ServerFull", Severity.STALLED, "The shared server holds as many models, or as much memory, as it may."
    REJECTED_BY_API_SERVER = (
        "RejectedByAPIServer",
        Severity.STALLED,
        "The API server refuses an object that follows from spec, or the pods that follow from it.",
    )
    WAITING_FOR_ACCELERATOR = (
        "WaitingForAccelerator",
        Severity.TROUBLE,
        "A pod finds no node with the accelerator free that it asks for.",
    )
    SOURCE_UNAVAILABLE = (
        "SourceUnavailable",
        Severity.TROUBLE,
        "The claim can't be mounted, or the base path on it can't be read.",
    )
    IMAGE_PULL_FAILED = "ImagePullFailed", Severity.TROUBLE, "A pod's image can't be had."
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff", Severity.TROUBLE, "A container ends again and again soon after its start."
    MODEL_LOAD_FAILED = "ModelLoadFailed", Severity.STALLED, "The model server failed to load a wanted version."
    SERVER_SUSPECT = (
        "ServerSuspect",
        Severity.TROUBLE,
        "A model server hangs or refuses every change: the kubelet restarts it.",
    )
    NO_VERSION_FOUND = "NoVersionFound", Severity.TROUBLE, "The base path can be read, and a wanted version is not there."
    VERSION_INCOMPLETE = "VersionIncomplete", Severity.MOVING, "Files of a wanted version are missing or still being written."
    VERSION_REJECTED = "VersionRejected", Severity.STALLED, "The files of a wanted version are broken."
    WARMUP_INVALID = (
        "WarmupInvalid",
        Severity.STALLED,
        "The warmup file of a wanted version would fail its load, or end the model server.",
    )
    WARMUP_MISSING = "WarmupMissing", Severity.STALLED, "Warmup is required, and a wanted version has too few warmup records."
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        Severity.STALLED,
        "The Deployment, or a version on its way in, has made no progress for its progressDeadlineSeconds.",
    )
    COMPARISON_FAILED = (
        "ComparisonFailed",
        Severity.STALLED,
        "A wanted version answers differently from the promoted one, or can't be compared with it.",
    )
    ROLLED_BACK = "RolledBack", Severity.STALLED, "A wanted version took model servers down: the one before it serves."
    WAITING_FOR_APPROVAL = (
        "WaitingForApproval",
        Severity.MOVING,
        "A version is loaded on trial, and goes on when somebody approves it.",
    )
    PAUSED = "Paused", Severity.MOVING, "The rollout is paused by spec."
    ROLLING_OUT = "RollingOut", Severity.MOVING, "Pods or versions are being replaced by others."
    WAITING_FOR_PODS = "WaitingForPods", Severity.MOVING, "Pods are being made, scheduled, started or removed."
    AGENT_UNREACHABLE = "AgentUnreachable", Severity.TROUBLE, "The agent of a running pod does not answer the operator."
    MODEL_LOADING = "ModelLoading", Severity.MOVING, "A wanted version is being loaded."


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a check found out: status is ``True``, ``False`` or ``Unknown``."""

    status: str
    reason: Reason
    message: str


def as_desired(message: str) -> Finding:
    return Finding("True", Reason.AS_DESIRED, message)


def merge(
    before: Iterable[Mapping[str, Any]], findings: Mapping[Type, Finding], generation: int, now: str
) -> list[dict[str, Any]]:
    """Return the conditions for ``findings``; lastTransitionTime moves only with status.

    Args:
        before: The stored conditions.
        now: RFC 3339, UTC, in whole seconds.
    """
    stored = {condition.get("type"): condition for condition in before}
    merged = []
    for kind, finding in findings.items():
        old = stored.get(kind)
        unchanged = old is not None and old.get("status") == finding.status
        merged.append(
            {
                "type": str(kind),
                "status": finding.status,
                "reason": str(finding.reason),
                "message": state.clean(finding.message, MESSAGE_CHARACTERS),
                "observedGeneration": generation,
                "lastTransitionTime": old.get("lastTransitionTime", now) if old is not None and unchanged else now,
            }
        )
    return merged
