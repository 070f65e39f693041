"""What the stored Deployment and pods say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import conditions
from tfmodel_operator.api.conditions import Reason

PULL_FAILURES = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}


def template_running(deployment: Mapping[str, Any] | None) -> bool:
    """Tell whether the Deployment's controller has seen its template and no pod of another one is left."""
    if deployment is None:
        return False
    status = deployment.get("status", {})
    seen = bool(status.get("observedGeneration") == deployment["metadata"]["generation"])
    return seen and bool(status.get("updatedReplicas", 0) == status.get("replicas", 0) == deployment["spec"]["replicas"])


def belongs_to(pod: Mapping[str, Any], deployment: str) -> bool:
    """Tell whether a pod is one of a Deployment's: a label alone can be on anybody's pod."""
    metadata = pod["metadata"]
    replica_set = f"{deployment}-{metadata.get('labels', {}).get('pod-template-hash')}"
    return any(
        owner.get("controller") and owner["kind"] == "ReplicaSet" and owner["name"] == replica_set
        for owner in metadata.get("ownerReferences", [])
    )


def terminating(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod is on its way out, or has ended."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether the kubelet says Ready."""
    return _condition(pod, "Ready").get("status") == "True"


def problem(pod: Mapping[str, Any]) -> conditions.Finding | None:
    """Return why a pod can't start, or None: nothing is known to be wrong with it."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        message = scheduled.get("message", "not scheduled yet")
        if "persistentvolumeclaim" in message.lower():
            return conditions.Finding("False", Reason.SOURCE_UNAVAILABLE, message)
        return conditions.Finding("False", Reason.WAITING_FOR_PODS, message)
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting", {})
        said = f"container {container['name']}: {waiting.get('message') or waiting.get('reason', '')}"
        if waiting.get("reason") in PULL_FAILURES:
            return conditions.Finding("False", Reason.IMAGE_PULL_FAILED, said)
        if waiting.get("reason") not in {None, "PodInitializing", "ContainerCreating"}:
            return conditions.Finding("False", Reason.WAITING_FOR_PODS, said)
    return None


def _condition(pod: Mapping[str, Any], kind: str) -> dict[str, Any]:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == kind:
            return dict(condition)
    return {}
