"""How soon a status is written, and how soon its TFModel is looked at again."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import conditions

MOVING_SECONDS = 10.0
"""What moves tells us so itself, by watches and by agents; looks are the belt to these braces."""
STALLED_SECONDS = 10.0
"""The mend may be something no watch of ours tells of, such as a stranger's Service that is deleted."""
PATIENT_SECONDS = 120.0
"""What has been refused for long is tried again so often: each try is a dry run and a list per kind, and many may be refused."""
STEADY_SECONDS = 600.0
"""After so long everything is compared anew, whatever is remembered."""
NEWS_SECONDS = 1.0
"""Between two writes of one status that says something new, unless Ready changes: a rollout has dozens of moments."""
JOINING_SECONDS = 2.5
"""In that time a model that joins a shared server mostly becomes AVAILABLE: one status says all, the server counts it once."""
ECHO_SECONDS = 2.0
"""After a pod has been told of its new config: mostly within a tenth of that its agent follows, and there is more to tell."""
NARRATION_SECONDS = 5.0
"""The same where only words and numbers are others."""

Status = Mapping[str, Any]


def patience(before: Status, status: Status, *, busy: bool) -> float:
    """Return how long after the last write a status may be written, in seconds.

    Args:
        busy: Others wait: half of what there is to tell now won't be worth telling in a moment.
    """
    was = ready(before).get("status", "False")
    if ready(status)["status"] != was or (_is_stalled(status) and not _is_stalled(before)):
        return 0.0
    if not busy and _names(before) and not _names(status) <= _names(before):
        return 0.0  # clients may get it within a second, and Ready may have been False before
    return NARRATION_SECONDS if busy or _gist(status) == _gist(before) else NEWS_SECONDS


def _names(status: Status) -> set[int]:
    """Return the versions that clients may get."""
    return {status[name] for name in ("promotedVersion", "candidateVersion") if name in status}


def _gist(status: Status) -> tuple[Any, ...]:
    said = {(c["type"], c["status"], c["reason"]) for c in status.get("conditions", [])}
    phase = status.get("rollout", {}).get("phase")
    return said, status.get("observedGeneration"), status.get("promotedVersion"), status.get("candidateVersion"), phase


def _is_stalled(status: Status) -> bool:
    return any(c["type"] == conditions.Type.STALLED for c in status.get("conditions", []))


def refused_seconds(status: Status, now: datetime.datetime) -> float:
    """Return after how many seconds what the API server refuses is tried again: the longer it has been so, the more.

    Args:
        status: As stored.
        now: With a time zone.
    """
    stalled = next((c for c in status.get("conditions", []) if c["type"] == conditions.Type.STALLED), None)
    if stalled is None:
        return STALLED_SECONDS
    since = now - datetime.datetime.fromisoformat(stalled["lastTransitionTime"])
    return min(PATIENT_SECONDS, max(STALLED_SECONDS, since.total_seconds() / 5))


def next_look(status: Status) -> float:
    """Return the seconds until the next look: what moves is followed closely, what only somebody else can change is not."""
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    if found.get(conditions.Type.RECONCILING) == "True":
        return MOVING_SECONDS
    return STALLED_SECONDS if found.get(conditions.Type.STALLED) == "True" else STEADY_SECONDS


def ready(status: Status) -> Status:
    """Return the condition Ready, or an empty one."""
    return next((c for c in status.get("conditions", []) if c["type"] == conditions.Type.READY), {})
