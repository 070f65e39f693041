"""Condition types, the closed list of reasons, and how a condition changes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any


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


class Reason(enum.StrEnum):
    """Why a condition is as it is."""

    AS_DESIRED = "AsDesired"  # nothing to say
    INVALID_SPEC = "InvalidSpec"  # the user must change spec
    NAME_CONFLICT = "NameConflict"  # an object of the name we need belongs to somebody else
    CONFIG_TOO_LARGE = "ConfigTooLarge"  # models.config doesn't fit into a ConfigMap
    REJECTED_BY_API_SERVER = "RejectedByAPIServer"  # the API server refuses an object that follows from spec
    NO_VERSION_FOUND = "NoVersionFound"  # the base path can be read and holds no wanted version
    VERSION_INCOMPLETE = "VersionIncomplete"  # a wanted version's files are still being written
    VERSION_REJECTED = "VersionRejected"  # a wanted version is broken on the volume
    SOURCE_UNAVAILABLE = "SourceUnavailable"  # the claim or the base path on it can't be read
    WAITING_FOR_PODS = "WaitingForPods"  # pods are being scheduled, started or replaced
    IMAGE_PULL_FAILED = "ImagePullFailed"  # a pod's image can't be had
    AGENT_UNREACHABLE = "AgentUnreachable"  # a pod's agent doesn't answer
    SERVER_SUSPECT = "ServerSuspect"  # a model server must be restarted
    MODEL_LOADING = "ModelLoading"  # a wanted version is on its way
    ROLLING_OUT = "RollingOut"  # every wanted version serves, and another one is on its way in or out
    MODEL_LOAD_FAILED = "ModelLoadFailed"  # a wanted version ended with an error


STALLED = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
        Reason.CONFIG_TOO_LARGE,
        Reason.REJECTED_BY_API_SERVER,
        Reason.VERSION_REJECTED,
        Reason.MODEL_LOAD_FAILED,
    }
)
"""Reasons that waiting alone doesn't cure: somebody must change something."""


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
                "message": finding.message[:4096],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and unchanged else now,
            }
        )
    return merged
