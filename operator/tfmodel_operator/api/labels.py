"""Names, labels and ports that objects and processes agree on."""

from __future__ import annotations

GROUP = "serving.tfmodel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

SERVER = f"{GROUP}/server"
"""On all children and pods: the server they belong to. Selectors use it alone, because selectors are immutable."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "tfmodel-operator"

CONFIG_HASH = f"{GROUP}/config-hash"
"""Annotation on pods: changing it makes the kubelet bring a changed ConfigMap to the pod at once (0.1 s, else up to 60 s)."""

TEMPLATE = f"{GROUP}/template"
"""Annotation in the pod template: its hash. Pods carry it, so that those of the applied template are told from older ones."""

GRPC_PORT = 8500
REST_PORT = 8501
AGENT_PORT = 8502


def of_server(server: str) -> dict[str, str]:
    """Return the labels of everything that belongs to ``server``."""
    return {SERVER: server, MANAGED_BY: MANAGER, "app.kubernetes.io/name": "tfmodel-server"}


def selector(server: str) -> dict[str, str]:
    """Return the labels that select the pods of ``server``."""
    return {SERVER: server}
