"""The two containers of a model server's pod."""

from __future__ import annotations

import hashlib
from typing import Any

from tfmodel_operator.api import labels, server_spec, spec
from tfmodel_operator.plan import configmap, flags

VIEW = "/run/tfmodel/view"
CUDA_CACHE = "/var/cache/cuda"
DRAIN_TOKEN = "--drain-token="  # noqa: S105 a flag's name
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def agent(model: spec.Host, image: str, token: str) -> dict[str, Any]:
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
            f"--drain-seconds={model.server.drain_seconds}",
            f"{DRAIN_TOKEN}{token}",
        ],
        "env": [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
        "ports": [{"name": "agent", "containerPort": labels.AGENT_PORT}],
        "resources": dict(model.server.agent_resources),
        "startupProbe": _probe("/livez", periodSeconds=1, failureThreshold=60),
        "livenessProbe": _probe("/livez", periodSeconds=10, failureThreshold=3),
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": configmap.MOUNT, "readOnly": True},
            *_sources(model),
            {"name": "view", "mountPath": VIEW},
        ],
    }


def model_server(model: spec.Host, token: str) -> dict[str, Any]:
    """Return the model server's container."""
    env = environment(model.server)
    return {
        "name": "model-server",
        "image": model.server.image,
        "imagePullPolicy": "IfNotPresent",
        # Not the image's entrypoint: a shell that doesn't hand on signals and sets a model of its own.
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": flags.flags(model),
        **({"env": env} if env else {}),
        "ports": [
            {"name": "grpc", "containerPort": labels.GRPC_PORT},
            {"name": "rest", "containerPort": labels.REST_PORT},
        ],
        "resources": resources(model.server),
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
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its last words are what status tells of a crash
        "securityContext": SECURITY,
        "volumeMounts": _mounts(model),
    }


def resources(server: server_spec.Server) -> dict[str, Any]:
    """Return the model server's resources: those given, its accelerators, and all claims of the pod."""
    found = {field: dict(quantities) for field, quantities in server.resources.items()}
    if server.accelerator is not None:
        count = str(server.accelerator.count)
        for field in ("limits", "requests"):  # extended resources want them equal
            found[field] = {**found.get(field, {}), server.accelerator.resource: count}
    claims = [{"name": claim["name"]} for claim in server.pod.get("resourceClaims", ())]
    return {**found, "claims": claims} if claims else found


def environment(server: server_spec.Server) -> list[dict[str, Any]]:
    """Return the model server's environment."""
    own: list[dict[str, Any]] = []
    if server.accelerator is not None:
        own.append({"name": "CUDA_CACHE_PATH", "value": CUDA_CACHE})  # the home directory can't be written to
        if server.accelerator.allow_growth:
            own.append({"name": "TF_FORCE_GPU_ALLOW_GROWTH", "value": "true"})
    return own + [dict(variable) for variable in server.pod.get("env", ())]


def volume_name(model: spec.Host, claim: str) -> str:
    """Return the name of a claim's volume within the pod: names of claims are longer than those of volumes may be."""
    return "source" if isinstance(model, spec.TFModel) else f"source-{hashlib.sha256(claim.encode()).hexdigest()[:16]}"


def _sources(model: spec.Host) -> list[dict[str, Any]]:
    return [
        {"name": volume_name(model, claim), "mountPath": configmap.mount_path(claim), "readOnly": True} for claim in model.claims
    ]


def _mounts(model: spec.Host) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": configmap.MOUNT, "readOnly": True},
        *_sources(model),
        {"name": "view", "mountPath": VIEW, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 the pod's own
    ]
    if model.server.batching is not None:
        mounts.append({"name": "boot", "mountPath": flags.BOOT, "readOnly": True})
    if model.server.accelerator is not None:
        mounts.append({"name": "cuda-cache", "mountPath": CUDA_CACHE})
    return mounts


def _probe(path: str, **timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": labels.AGENT_PORT}, "timeoutSeconds": 3, **timing}
