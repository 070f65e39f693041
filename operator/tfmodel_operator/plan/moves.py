"""Which pods the Service of a model selects while the model moves: those of the old server until the new one answers.

What is so is read from the Service itself: a move may be cut off anywhere, and the next pass carries on.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels, server_spec
from tfmodel_operator.plan import flags

SETTLE_SECONDS = 2.0
"""For the endpoints controller to have heard of the marks on the pods: it follows pods and Services by watches of their own,
and one that hears of the Service first finds no pod for it."""
SLACK_SECONDS = 5.0
"""For kube-proxy and DNS to follow the Service, and gRPC's own variation of the age of connections."""


@dataclasses.dataclass(frozen=True, slots=True)
class Home:
    """Where the Service points.

    Args:
        server: As :data:`labels.SERVER` has it.
        moved: The annotation :data:`labels.MOVED`; ``""``: none.
        again_in_seconds: When time alone may change it; None: never.
    """

    server: str
    moved: str = ""
    again_in_seconds: float | None = None


def home(
    target: str, live: Mapping[str, Any] | None, *, answering_seconds: float | None, home_answers: bool, now: datetime.datetime
) -> Home:
    """Return where the Service of a model is to point.

    Args:
        target: The server that the model asks for.
        live: Its Service as it is.
        answering_seconds: For how long all pods there have answered for the model; None: some don't.
        home_answers: Some pod answers where the Service points now.
    """
    current = points_to(live)
    if current == target:
        return Home(target, _moved(live))
    if current and home_answers:
        if answering_seconds is None:
            return Home(current)
        if answering_seconds < SETTLE_SECONDS:
            return Home(current, again_in_seconds=SETTLE_SECONDS - answering_seconds)
    return Home(target, f"{current} {now.strftime('%Y-%m-%dT%H:%M:%SZ')}" if current else "")


def points_to(live: Mapping[str, Any] | None) -> str:
    """Return the server that a Service selects the pods of; ``""``: none."""
    return str((live["spec"].get("selector") or {}).get(labels.SERVER, "")) if live is not None else ""


def left(live: Mapping[str, Any] | None) -> str:
    """Return the server that a Service was switched away from last; ``""``: none that is told."""
    return _moved(live).partition(" ")[0]


def lingers_seconds(live: Mapping[str, Any] | None, server: server_spec.Server, now: datetime.datetime) -> float:
    """Return for how long a model must stay loaded on the server that it has left: until clients have connected anew."""
    _, _, since = _moved(live).partition(" ")
    try:
        gone = (now - datetime.datetime.fromisoformat(since)).total_seconds()
    except ValueError:
        return 0.0
    return max(0.0, 1.1 * flags.connection_age_seconds(server) + SLACK_SECONDS - gone)


def _moved(live: Mapping[str, Any] | None) -> str:
    return str((live["metadata"].get("annotations") or {}).get(labels.MOVED, "")) if live is not None else ""
