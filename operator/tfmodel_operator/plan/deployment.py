"""The Deployment of one server: the model server, and beside it the agent that feeds it.

The template is a function of spec and of the agent's image alone: whatever changes with the models is in the ConfigMap.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import configmap, metadata

VIEW = "/run/tfmodel/view"
USER = 65532
"""Agent and server run as the same user: what one can read the other can."""
DRAIN_SECONDS = 20
STOP_SECONDS = 10
"""Between the end of the drain and SIGKILL."""
CONNECTION_AGE_SECONDS = 15
"""gRPC clients are told to connect anew that often, so that within a drain all of them have left; gRPC adds up to a tenth."""
DRAIN_TOKEN = "--drain-token="  # noqa: S105 a flag's name
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def deployment(model: spec.TFModel, agent_image: str, live: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the complete Deployment serving ``model``; equal inputs give equal objects.

    Args:
        live: The Deployment as it is: what must outlive the TFModel's UID is taken over from it.
    """
    name = metadata.server_name(model)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata.child(model, name),
        "spec": {
            "replicas": model.server.replicas,
            "selector": {"matchLabels": labels.selector(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": 3,
            "template": _marked(labels.of_server(name), pod_spec(model, agent_image, drain_token(model, live))),
        },
    }


def _marked(pod_labels: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod template with its own hash in it."""
    template = {"metadata": {"labels": pod_labels}, "spec": spec}
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    return {"metadata": {"labels": pod_labels, "annotations": {labels.TEMPLATE: digest}}, "spec": spec}


def drain_token(model: spec.TFModel, live: Mapping[str, Any] | None) -> str:
    """Return the word by which the agent knows the kubelet: unknown to the network, and stable, so that no pod is replaced.

    It follows from the TFModel's UID; a Deployment that was adopted (``--cascade=orphan``) keeps the one it has.
    """
    if live is not None:
        for container in live["spec"]["template"]["spec"].get("initContainers", []):
            for argument in container.get("args", []):
                if argument.startswith(DRAIN_TOKEN):
                    return str(argument.removeprefix(DRAIN_TOKEN))
    return hashlib.sha256(f"drain {model.uid}".encode()).hexdigest()[:32]


def pod_spec(model: spec.TFModel, agent_image: str, token: str) -> dict[str, Any]:
    """Return the pod spec; it passes Pod Security *restricted*."""
    claim = {"claimName": model.source.claim_name, "readOnly": True}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": True,  # the model server ignores SIGTERM where it is PID 1
        "terminationGracePeriodSeconds": DRAIN_SECONDS + STOP_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_agent(agent_image, model.source, token)],
        "containers": [_model_server(model, token)],
        "volumes": [
            {"name": "source", "persistentVolumeClaim": claim},
            {"name": "config", "configMap": {"name": metadata.config_name(model)}},
            {"name": "view", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }


def _agent(image: str, source: spec.Claim, token: str) -> dict[str, Any]:
    """Return the agent as a native sidecar: it is up before the model server starts and until after that has ended."""
    return {
        "name": "agent",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": [
            "tfmodel_agent",
            "run",
            f"--config={configmap.MOUNT}",
            f"--view={VIEW}",
            f"--port={labels.AGENT_PORT}",
            f"--client-port={labels.GRPC_PORT}",
            f"--client-port={labels.REST_PORT}",
            f"--drain-seconds={DRAIN_SECONDS}",
            f"{DRAIN_TOKEN}{token}",
        ],
        "env": [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
        "ports": [{"name": "agent", "containerPort": labels.AGENT_PORT}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "startupProbe": _probe("/livez", periodSeconds=1, failureThreshold=60),
        "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=3),
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": configmap.MOUNT, "readOnly": True},
            {"name": "source", "mountPath": configmap.mount_path(source), "readOnly": True},
            {"name": "view", "mountPath": VIEW},
        ],
    }


def _model_server(model: spec.TFModel, token: str) -> dict[str, Any]:
    return {
        "name": "model-server",
        "image": model.server.image,
        "imagePullPolicy": "IfNotPresent",
        # Not the image's entrypoint: a shell that doesn't hand on signals and sets a model of its own.
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": flags(),
        "ports": [
            {"name": "grpc", "containerPort": labels.GRPC_PORT},
            {"name": "rest", "containerPort": labels.REST_PORT},
        ],
        "resources": dict(model.server.resources),
        # The agent is asked, not the server: the server's REST threads are those that inference blocks, so a probe of it
        # fails under load. It tolerates an agent that restarts.
        "readinessProbe": _probe("/readyz", periodSeconds=1, failureThreshold=15),
        "livenessProbe": _probe("/livez/server", periodSeconds=5, failureThreshold=3),
        # The agent answers when clients have left; then SIGTERM, which ends the server at once.
        "lifecycle": {
            "preStop": {
                "httpGet": {
                    "path": "/drain",
                    "port": labels.AGENT_PORT,
                    "httpHeaders": [{"name": "X-Drain-Token", "value": token}],
                }
            }
        },
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": configmap.MOUNT, "readOnly": True},
            {"name": "source", "mountPath": configmap.mount_path(model.source), "readOnly": True},
            {"name": "view", "mountPath": VIEW, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 the pod's own
        ],
    }


def flags() -> list[str]:
    """Return the model server's flags. Always `--flag=value`: the server drops the value of `--flag value` in silence.

    Source: tensorflow/serving, model_servers/main.cc.
    """
    return [
        f"--port={labels.GRPC_PORT}",
        f"--rest_api_port={labels.REST_PORT}",
        f"--model_config_file={configmap.MOUNT}/boot.config",
        f"--monitoring_config_file={configmap.MOUNT}/monitoring.config",
        "--file_system_poll_wait_seconds=1",
        "--num_load_threads=8",  # a load that hangs or retries sleeps on its thread
        "--num_unload_threads=4",
        "--max_num_load_retries=0",  # the agent retries, and knows why
        "--load_retry_interval_micros=1000000",
        "--grpc_max_threads=64",
        f"--grpc_channel_arguments=grpc.max_connection_age_ms={CONNECTION_AGE_SECONDS * 1000}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_profiler=false",  # unauthenticated, and on the port clients use
    ]


def _probe(path: str, **timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": labels.AGENT_PORT}, "timeoutSeconds": 3, **timing}
