"""Which Events a change of status is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api.conditions import Type


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What to post about the TFModel; ``type`` is ``Normal`` or ``Warning``."""

    type: str
    reason: str
    message: str


def events(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the Events that the change from ``before`` to ``after`` is worth: Ready becoming true, or ceasing to be."""
    was, now = _ready(before), _ready(after)
    if "True" not in {was.get("status"), now.get("status")} or was.get("status") == now.get("status"):
        return ()
    kind = "Normal" if now["status"] == "True" else "Warning"
    return (Event(kind, now["reason"], now["message"]),)


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions", []) if c["type"] == Type.READY), {})
