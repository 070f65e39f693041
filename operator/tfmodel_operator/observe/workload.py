"""What the stored Deployment says, and which pods are its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import conditions, facts, labels
from tfmodel_operator.api.conditions import Reason

SERVER_CONTAINER = "model-server"


def deployment_facts(deployment: Mapping[str, Any] | None) -> facts.DeploymentFacts:
    """Return what the Deployment's controller says, as far as it is about the Deployment as it is now."""
    if deployment is None:
        return facts.DeploymentFacts()
    status, template = deployment.get("status", {}), deployment["spec"]["template"]
    observed = "deletionTimestamp" not in deployment["metadata"] and (
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    )
    return facts.DeploymentFacts(
        observed=observed,
        wanted=deployment["spec"].get("replicas", 1),
        replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        problem=_replica_failure(status) if observed else None,
        overdue=_overdue(status) if observed else "",
        paused=bool(deployment["spec"].get("paused")),
        image=_server(template).get("image", ""),
        accelerator=accelerator(template),
    )


def _replica_failure(status: Mapping[str, Any]) -> conditions.Finding | None:
    """Return why pods are refused: quota, Pod Security, a policy of the cluster's."""
    failure = condition(status, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return conditions.Finding("False", Reason.REJECTED_BY_API_SERVER, f"pods can't be made: {failure.get('message', '')}")


def _overdue(status: Mapping[str, Any]) -> str:
    progressing = condition(status, "Progressing")
    late = progressing.get("status") == "False" and progressing.get("reason") == "ProgressDeadlineExceeded"
    return str(progressing.get("message", "")) or "ProgressDeadlineExceeded" if late else ""


def accelerator(template: Mapping[str, Any]) -> str:
    """Return the extended resources that a pod of ``template`` asks for, as in ``1 nvidia.com/gpu``."""
    limits = _server(template).get("resources", {}).get("limits", {})
    return ", ".join(f"{count} {name}" for name, count in sorted(limits.items()) if "/" in name)


def _server(template: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = template.get("spec", {}).get("containers", [])
    return next((container for container in containers if container["name"] == SERVER_CONTAINER), {})


def current(pod: Mapping[str, Any], deployment: Mapping[str, Any] | None) -> bool:
    """Tell whether a pod is of the template that was applied last.

    The counts of the Deployment's status don't tell: they are of another moment than the pods we know.
    """
    if deployment is None:
        return False
    wanted = deployment["spec"]["template"].get("metadata", {}).get("annotations", {})
    found = pod["metadata"].get("annotations", {})
    marks = (labels.TEMPLATE, labels.CONFIG)
    return labels.TEMPLATE in wanted and all(found.get(mark) == wanted.get(mark) for mark in marks)


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


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the condition of type ``kind`` of any object's status, or an empty one."""
    return next((found for found in status.get("conditions", []) if found["type"] == kind), {})
