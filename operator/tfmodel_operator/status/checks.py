"""A condition is the first failing finding of an ordered list of checks; the order is what matters most to a user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TypeVar

from tfmodel_operator.api import conditions
from tfmodel_operator.api.conditions import Finding, Reason, Severity
from tfmodel_operator.api.facts import Facts, ServerFacts
from tfmodel_operator.status import pod_checks, version_checks

Check = Callable[[Facts], Finding | None]
ServerCheck = Callable[[ServerFacts], Finding | None]

CONFIG_VALID: tuple[ServerCheck, ...] = (pod_checks.config_valid,)
VERSIONS_VERIFIED: tuple[Check, ...] = (
    pod_checks.source_mounted,
    pod_checks.config_read,
    version_checks.source_readable,
    version_checks.version_found,
    version_checks.versions_verified,
)
PODS_READY: tuple[ServerCheck, ...] = (
    pod_checks.pods_possible,
    pod_checks.pods_accepted,
    pod_checks.accelerators_found,
    pod_checks.source_mounted,
    pod_checks.images_pulled,
    pod_checks.containers_run,
    pod_checks.template_running,
    pod_checks.pods_exist,
    pod_checks.pods_ready,
)
MODEL_AVAILABLE: tuple[Check, ...] = (
    version_checks.source_readable,
    version_checks.rollout_failed,
    version_checks.versions_loadable,
    pod_checks.servers_sound,
    pod_checks.config_read,
    version_checks.version_found,
    version_checks.versions_verified,
    pod_checks.servers_answer,
    version_checks.rollout_complete,
    version_checks.versions_available,
)
READY: tuple[Check, ...] = (
    pod_checks.config_valid,
    pod_checks.pods_accepted,
    pod_checks.accelerators_found,
    pod_checks.source_mounted,
    pod_checks.images_pulled,
    pod_checks.containers_run,
    version_checks.source_readable,
    version_checks.rollout_failed,
    version_checks.versions_loadable,
    pod_checks.servers_sound,
    version_checks.version_found,
    version_checks.versions_verified,
    pod_checks.template_running,
    pod_checks.config_read,
    pod_checks.pods_exist,
    pod_checks.agents_answer,
    pod_checks.servers_answer,
    version_checks.rollout_complete,
    version_checks.versions_available,
    pod_checks.agents_settled,
    pod_checks.pods_ready,
)

SERVER_READY: tuple[ServerCheck, ...] = (
    pod_checks.config_valid,
    pod_checks.pods_accepted,
    pod_checks.accelerators_found,
    pod_checks.source_mounted,
    pod_checks.images_pulled,
    pod_checks.containers_run,
    pod_checks.servers_sound,
    pod_checks.template_running,
    pod_checks.pods_exist,
    pod_checks.agents_answer,
    pod_checks.servers_answer,
    pod_checks.pods_ready,
)
"""Of a TFModelServer: that models join, or that one can't be loaded, is their own affair."""
JOINED_PODS: tuple[Check, ...] = (
    pod_checks.accelerators_found,
    pod_checks.source_mounted,
    pod_checks.images_pulled,
    pod_checks.containers_run,
    pod_checks.any_pod_ready,
)
"""Of a TFModel that shares a server: its pods are those that serve (:func:`joined.serving`), others while there are none."""
JOINED_VERIFIED: tuple[Check, ...] = (
    pod_checks.config_valid,
    pod_checks.claim_mounted,
    pod_checks.config_read,
    version_checks.source_readable,
    version_checks.version_found,
    version_checks.versions_verified,
)
JOINED_AVAILABLE: tuple[Check, ...] = (
    pod_checks.config_valid,
    pod_checks.claim_mounted,
    version_checks.source_readable,
    version_checks.rollout_failed,
    version_checks.versions_loadable,
    pod_checks.config_read,
    version_checks.version_found,
    version_checks.versions_verified,
    version_checks.rollout_complete,
    version_checks.versions_available,
)
JOINED_READY: tuple[Check, ...] = (
    pod_checks.config_valid,
    pod_checks.accelerators_found,
    pod_checks.source_mounted,
    pod_checks.images_pulled,
    pod_checks.containers_run,
    pod_checks.claim_mounted,
    version_checks.source_readable,
    version_checks.rollout_failed,
    version_checks.versions_loadable,
    pod_checks.servers_sound,
    version_checks.version_found,
    version_checks.versions_verified,
    pod_checks.any_pod,
    pod_checks.agents_answer,
    pod_checks.config_read,
    pod_checks.servers_answer,
    version_checks.rollout_complete,
    version_checks.versions_available,
    pod_checks.any_pod_ready,
)

Seen = TypeVar("Seen", bound=ServerFacts)


def first(checks: Iterable[Callable[[Seen], Finding | None]], seen: Seen, otherwise: Finding) -> Finding:
    """Return the first failing finding, or ``otherwise``."""
    return next((found for check in checks if (found := check(seen))), otherwise)


def ready(seen: Seen, otherwise: Finding, of: Iterable[Callable[[Seen], Finding | None]]) -> tuple[Finding, bool]:
    """Return the finding for Ready, and whether it is stalled: waiting alone will not make it true.

    What only takes its time is stalled when the Deployment has made no progress for its ``progressDeadlineSeconds``.

    Args:
        of: The checks, :data:`READY` or those of a shared server or its model.
    """
    found = first(of, seen, otherwise)
    if found.status == "True" or found.reason.severity is Severity.STALLED:
        return found, found.status != "True"
    if not seen.deployment.overdue:
        return found, False
    late = conditions.Finding("False", found.reason, f"{found.message}; {seen.deployment.overdue}")
    if found.reason.severity is Severity.MOVING:  # else the reason itself says more
        late = dataclasses.replace(late, reason=Reason.PROGRESS_DEADLINE_EXCEEDED)
    return late, True
