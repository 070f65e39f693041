"""Names, labels and ports that objects and processes agree on."""

from __future__ import annotations

GROUP = "serving.tfmodel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

SERVER = f"{GROUP}/server"
"""On all children and pods: the server they belong to. Selectors use it alone, because selectors are immutable."""
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "tfmodel-operator"
NAME = "app.kubernetes.io/name"

CONFIG_HASH = f"{GROUP}/config-hash"
"""Annotation on pods: changing it makes the kubelet bring a changed ConfigMap to the pod at once (0.1 s, else up to 60 s)."""
TEMPLATE = f"{GROUP}/template"
"""Annotation in the pod template: its hash. Pods carry it, so that those of the applied template are told from older ones."""
BATCHING = f"{GROUP}/batching.config"
"""Annotation on pods: the file of this name that their model server boots with."""
CONFIG = f"{GROUP}/config"
"""Annotation in the pod template: the name of the ConfigMap that is mounted, where that is one for one content alone."""
ROLLOUTS = f"{GROUP}/rollouts"
"""Annotation on a ConfigMap: the record of each model's rollout, by its name (:mod:`tfmodel_operator.plan.rollout.record`)."""
PLATFORM = f"{GROUP}/platform"
"""Annotation on a Deployment: what beside spec its template follows from (:mod:`tfmodel_operator.plan.platform`)."""
REPLICAS = f"{GROUP}/replicas"
"""Annotation on a Deployment: ``spec``, once its number of replicas has come from the TFModel."""
UPGRADE = f"{GROUP}/upgrade"
"""Annotation on a TFModel: ``now`` lets its pods follow this operator's version; else they do so when their template changes."""

RESERVED = frozenset({NAME, MANAGED_BY, "pod-template-hash"})
"""Keys outside our own domain that users can't set on pods and Services."""

GRPC_PORT = 8500
REST_PORT = 8501
AGENT_PORT = 8502


def of_server(server: str) -> dict[str, str]:
    """Return the labels of everything that belongs to ``server``."""
    return {SERVER: server, MANAGED_BY: MANAGER, NAME: "tfmodel-server"}


def selector(server: str) -> dict[str, str]:
    """Return the labels that select the pods of ``server``."""
    return {SERVER: server}


def reserved(key: str) -> bool:
    """Tell whether a label or annotation is ours to set."""
    domain, slash, _ = key.rpartition("/")
    return key in RESERVED or bool(slash and (domain == GROUP or domain.endswith(f".{GROUP}")))
