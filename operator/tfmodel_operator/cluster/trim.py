"""What of an object is kept: thousands of them stay in memory, and most of a Pod concerns nobody here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import kinds, labels

NOT_METADATA = frozenset({"managedFields", "selfLink", "generateName"})
NOT_ANNOTATIONS = frozenset({"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"})
NOT_POD_STATUS = frozenset({"hostIP", "hostIPs", "podIPs", "qosClass", "startTime", "observedGeneration"})
CONTAINER_STATUS = ("name", "ready", "started", "restartCount", "state", "lastState")
WITHOUT_STATUS = frozenset({"Service", "PodDisruptionBudget", "NetworkPolicy"})
"""Kinds whose status nothing here reads: that it changes is no news."""

LONG = 100
"""Characters of a string that nobody else has."""


def trimmed(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of an object as the API server gave it."""
    kept = {key: value for key, value in body.items() if key != "status" or kind not in WITHOUT_STATUS}
    kept |= {"kind": kind, "apiVersion": kinds.BY_NAME[kind].api_version}  # the items of a list don't carry them
    kept["metadata"] = _metadata(body["metadata"])
    if kind == "Pod":
        kept["spec"] = _pod_spec(kept["metadata"], body.get("spec", {}))
        kept["status"] = _pod_status(body.get("status", {}))
    return kept


def interned(value: Any) -> Any:
    """Return an equal JSON value whose strings are shared with all others: a Deployment takes half the memory then."""
    if isinstance(value, dict):
        return {sys.intern(key): interned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [interned(one) for one in value]
    return sys.intern(value) if isinstance(value, str) and len(value) < LONG else value


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in metadata.items() if key not in NOT_METADATA}
    if annotations := kept.get("annotations"):
        kept["annotations"] = {key: value for key, value in annotations.items() if key not in NOT_ANNOTATIONS}
    return kept


def _pod_spec(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a pod is, and of a shared server's also which claims it has mounted: they change with its models."""
    kept: dict[str, Any] = {"nodeName": spec.get("nodeName", "")}
    if labels.is_shared(metadata.get("labels", {}).get(labels.SERVER, "")):
        kept["volumes"] = [volume for volume in spec.get("volumes", []) if "persistentVolumeClaim" in volume]
    return kept


def _pod_status(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in status.items() if key not in NOT_POD_STATUS}
    for key in ("initContainerStatuses", "containerStatuses"):
        if key in kept:
            kept[key] = [{part: one[part] for part in CONTAINER_STATUS if part in one} for one in kept[key]]
    return kept
