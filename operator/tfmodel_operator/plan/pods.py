"""The pod template of one server: the model server, and beside it the agent that feeds it.

It is a function of spec and of the platform alone: whatever changes with the models is in the ConfigMap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels, server_spec, spec
from tfmodel_operator.plan import containers, flags, metadata
from tfmodel_operator.plan.platform import Platform
from tfmodel_serving import batching

USER = 65532
"""Agent and server run as the same user: what one can read the other can."""
STOP_SECONDS = 10
"""Between the end of the drain and SIGKILL."""
PASSED_ON = (
    "nodeSelector",
    "affinity",
    "priorityClassName",
    "serviceAccountName",
    "imagePullSecrets",
    "runtimeClassName",
    "schedulerName",
    "resourceClaims",
)
"""Fields of spec.server.pod that stand in the pod spec as they are."""


def template(model: spec.Host, platform: Platform, token: str) -> dict[str, Any]:
    """Return the pod template; it passes Pod Security *restricted*.

    Args:
        token: The word by which the agent knows the kubelet.
    """
    name, pod = model.server_label, model.server.pod
    annotations = dict(pod.get("annotations", {}))
    if model.server.batching is not None:
        annotations[labels.BATCHING] = batching.to_text(model.server.batching)
    return {
        "metadata": {
            "labels": {**pod.get("labels", {}), **labels.of_server(name)},
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "shareProcessNamespace": True,  # the model server ignores SIGTERM where it is PID 1
            "terminationGracePeriodSeconds": model.server.drain_seconds + STOP_SECONDS,
            "securityContext": _security(pod.get("securityContext", {})),
            **{field: pod[field] for field in PASSED_ON if field in pod},
            **_scheduling(name, model.server),
            "initContainers": [containers.agent(model, platform.agent_image, token)],
            "containers": [containers.model_server(model, token)],
            "volumes": _volumes(model),
        },
    }


def _security(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        **given,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _scheduling(name: str, server: server_spec.Server) -> dict[str, Any]:
    tolerations = list(server.pod.get("tolerations", ()))
    if server.accelerator is not None:
        # What clouds taint their accelerator nodes with; elsewhere it does no harm.
        own = {"key": server.accelerator.resource, "operator": "Exists"}
        tolerations += [own] if own not in tolerations else []
    spread = [
        {"labelSelector": {"matchLabels": labels.selector(name)}, **constraint}
        for constraint in server.pod.get("topologySpreadConstraints", ())
    ]
    found: dict[str, Any] = {"tolerations": tolerations, "topologySpreadConstraints": spread}
    return {field: value for field, value in found.items() if value}


def _volumes(model: spec.Host) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        *(
            {"name": containers.volume_name(model, claim), "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            for claim in model.claims
        ),
        {"name": "config", "configMap": {"name": metadata.config_name(model)}},
        {"name": "view", "emptyDir": {"sizeLimit": "16Mi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
    ]
    if model.server.batching is not None:
        # From the pod's own annotation: a server that restarts while its pods are being replaced must find the file it was
        # started with, whatever spec says by then.
        field = {"fieldPath": f"metadata.annotations['{labels.BATCHING}']"}
        volumes.append({"name": "boot", "downwardAPI": {"items": [{"path": flags.BATCHING, "fieldRef": field}]}})
    if model.server.accelerator is not None:
        volumes.append({"name": "cuda-cache", "emptyDir": {"sizeLimit": "2Gi"}})
    return volumes
