"""What the planner answers."""

from __future__ import annotations

import dataclasses
import enum

from tfmodel_operator.plan.rollout.config import Config
from tfmodel_operator.plan.rollout.record import Record


class Phase(enum.StrEnum):
    """`status.rollout.phase`."""

    WAITING = "Waiting"  # for pods to say what they serve
    STARTING = "Starting"  # nothing is promoted yet
    VERIFYING = "Verifying"  # a wanted version is not complete, or not seen, on every pod
    TRYING = "Trying"  # a candidate loads under its private name
    COMPARING = "Comparing"  # its answers are held against the promoted version's
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    GROWING = "Growing"  # it loads beside the promoted one, on all pods
    REPLACING = "Replacing"  # new pods load it, and old ones go
    BAKING = "Baking"  # it is promoted, and the old one is still there
    SETTLING = "Settling"  # pods follow the last change, and what is no longer wanted goes
    ROLLING_BACK = "RollingBack"  # what failed, or is no longer wanted, is taken out
    ROLLED_BACK = "RolledBack"  # a wanted version failed, and the last good ones serve
    HELD = "Held"  # the same, and the failed one is loaded under its private name
    UPDATING_TEMPLATE = "UpdatingTemplate"  # pods are replaced before the version changes
    WAITING_FOR_ACCELERATOR = "WaitingForAccelerator"
    BLOCKED = "Blocked"  # spec asks for what can't be had together
    PAUSED = "Paused"
    COMPLETE = "Complete"


class Pods(enum.StrEnum):
    """By which pod template."""

    LIVE = "live"  # the Deployment's present one, whatever spec says by now
    DESIRED = "desired"  # the one spec asks for


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """The pod template the Deployment should have.

    Args:
        immutable: It mounts a ConfigMap of its own for this content; else the one that is changed in place.
        recreate: Old pods stop before new ones start.
    """

    pods: Pods = Pods.DESIRED
    immutable: bool = False
    recreate: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """The next safe step.

    Apply in this order, each only if it differs: the record, the ConfigMap, the Deployment. Where the config is changed in
    place, record and config belong into one write.

    Args:
        config: What all pods should serve; None: leave what is there, it isn't known what that is.
        record: To be kept; what it says of the config is so once that is applied.
        reason: What happens and why, or what is waited for: version, pod, fix.
        deadline: Unix seconds; when the facts alone don't bring it, look again then. None: time changes nothing.
        promoted: What requests that name no version get; None: nothing yet, or it isn't known.
        candidate: The version on its way in.
        failed: The newest wanted version that is quarantined, where that is what the reason is about; its cause is in the record.
    """

    config: Config | None
    template: Template
    record: Record
    phase: Phase
    reason: str
    deadline: float | None = None
    promoted: int | None = None
    candidate: int | None = None
    failed: int | None = None
