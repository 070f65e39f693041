"""Which Events a change of status is worth: one per transition that a person wants to find in `kubectl describe`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api.conditions import Reason, Severity, Type

MESSAGE_CHARACTERS = 1024
"""As many as the API server accepts in an Event."""
_TROUBLE = {Severity.TROUBLE, Severity.STALLED}


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What to post about the TFModel.

    Args:
        type: ``Normal`` or ``Warning``.
        reason: Of the condition.
        message: Of the condition, cut to what an Event can hold.
    """

    type: str
    reason: str
    message: str


def events(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the Events that the change from ``before`` to ``after`` is worth.

    Ready becoming true or ceasing to be; another trouble, or one that has become final, while it isn't; a version that waits for
    approval; Available ceasing to be true. Ordinary progress while it isn't Ready yet (pods are starting, a version is loading)
    is not worth any.
    """
    was, now = _by_type(before), _by_type(after)
    posted = []
    if _ready_changed(was, now):
        posted.append(_event(now[Type.READY], warning=_severity(now[Type.READY]["reason"]) in _TROUBLE))
    if _became_unavailable(was, now):
        posted.append(_event(now[Type.AVAILABLE], warning=now[Type.AVAILABLE]["reason"] != Reason.AS_DESIRED))
    return tuple(posted)


def _by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions", [])}


def _ready_changed(was: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> bool:
    before, after = was.get(Type.READY, {}), now.get(Type.READY)
    if after is None:
        return False
    if "True" in {before.get("status"), after["status"]}:
        return bool(before.get("status") != after["status"])
    final, another = Type.STALLED in now and Type.STALLED not in was, bool(after["reason"] != before.get("reason"))
    if after["reason"] == Reason.WAITING_FOR_APPROVAL:
        return bool(another)
    return _severity(after["reason"]) in _TROUBLE and (another or final)


def _became_unavailable(was: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> bool:
    return was.get(Type.AVAILABLE, {}).get("status") == "True" and now.get(Type.AVAILABLE, {}).get("status") == "False"


def _event(condition: Mapping[str, Any], *, warning: bool) -> Event:
    return Event("Warning" if warning else "Normal", condition["reason"], condition["message"][:MESSAGE_CHARACTERS])


def _severity(reason: str) -> Severity:
    """Return what a reason asks of people; one that an operator of another version wrote asks nothing."""
    return Reason(reason).severity if reason in {*Reason} else Severity.FINE
