"""How pods are replaced when their template changes.

A new pod beside the old ones is the safe way, and needs room. Accelerators are often all in use, and then a surge waits for
ever: so once the scheduler has said for a while that they don't suffice, an old pod goes first, if that leaves one serving.

Source: kubernetes, pkg/controller/deployment/rolling.go (with maxSurge 0, old pods go as far as maxUnavailable allows).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tfmodel_operator.api import server_spec
from tfmodel_operator.api.server_spec import UpdateStrategy
from tfmodel_operator.plan import platform

PATIENCE_SECONDS = 30
"""How long a surge may be Unschedulable: an autoscaler or a pod that ends may make room."""

Manifest = Mapping[str, Any]

SURGE_FIRST: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
REPLACE_FIRST: dict[str, Any] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
RECREATE: dict[str, Any] = {"type": "Recreate", "rollingUpdate": None}  # said, because the API server refuses both
_FIXED = {
    UpdateStrategy.SURGE_FIRST: SURGE_FIRST,
    UpdateStrategy.REPLACE_FIRST: REPLACE_FIRST,
    UpdateStrategy.RECREATE: RECREATE,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """How pods are replaced now.

    Args:
        strategy: The Deployment's.
        depends_on_pods: It may change with them.
        again_in_seconds: When time alone will change it; None: never.
    """

    strategy: dict[str, Any]
    depends_on_pods: bool = True
    again_in_seconds: float | None = None


def choose(
    server: server_spec.Server, live: Manifest | None, pods: Sequence[Manifest], mark: str, now: datetime.datetime
) -> Choice:
    """Choose the update strategy; equal inputs give equal choices.

    Args:
        live: The Deployment as it is.
        pods: Its pods as they are.
        mark: Of the template that is wanted (:func:`platform.mark_of`).
        now: With a time zone.
    """
    if server.update_strategy in _FIXED:
        return Choice(_FIXED[server.update_strategy], depends_on_pods=False)
    if server.accelerator is None:
        return Choice(SURGE_FIRST, depends_on_pods=False)
    if live is None or not _rolling(pods, mark):
        return Choice(SURGE_FIRST)
    if live["spec"].get("strategy") == REPLACE_FIRST:
        return Choice(REPLACE_FIRST)  # what is under way is finished that way
    waiting = waiting_seconds(server.accelerator, pods, mark, now)
    if waiting is None or live["spec"].get("replicas", 1) < 2:
        return Choice(SURGE_FIRST)
    if waiting < PATIENCE_SECONDS:
        return Choice(SURGE_FIRST, again_in_seconds=PATIENCE_SECONDS - waiting)
    return Choice(REPLACE_FIRST)


def _rolling(pods: Sequence[Manifest], mark: str) -> bool:
    """Tell whether pods are being replaced: for a template of ours, or for what others add to it (`kubectl rollout restart`)."""
    of_others = any(platform.mark_of(pod) != mark for pod in pods)
    return of_others or len({pod["metadata"].get("labels", {}).get("pod-template-hash") for pod in pods}) > 1


def waiting_seconds(
    accelerator: server_spec.Accelerator, pods: Sequence[Manifest], mark: str, now: datetime.datetime
) -> float | None:
    """Return for how long a pod of the wanted template has been Unschedulable for lack of accelerators, or None."""
    since = [
        datetime.datetime.fromisoformat(condition["lastTransitionTime"])
        for pod in pods
        if platform.mark_of(pod) == mark and "deletionTimestamp" not in pod["metadata"]
        for condition in pod.get("status", {}).get("conditions") or ()
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and condition.get("reason") == "Unschedulable"
        if f"Insufficient {accelerator.resource}" in condition.get("message", "") and condition.get("lastTransitionTime")
    ]
    return (now - min(since)).total_seconds() if since else None
