"""Names, labels and ports that objects and processes agree on."""

from __future__ import annotations

GROUP = "serving.tfmodel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

SERVER = f"{GROUP}/server"
"""On all children and pods: the server they belong to, a TFModel's by its name, a shared one as :func:`shared` says. Selectors
of Deployments use it alone, because selectors are immutable."""
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

MODEL_PREFIX = f"{GROUP}/model-"
"""With the name of a TFModel: label on the pods of a shared server that answer for it, by which its Service selects them."""
ANSWERS = "available"
"""Value of these labels."""
MEMBERS = f"{GROUP}/members"
"""Annotation on the ConfigMap of a shared server: UID by name of the TFModels in it. They have their places before others."""
MOVED = f"{GROUP}/moved"
"""Annotation on a Service that was switched from one shared server to another: from which, and when."""
SHARED_PREFIX = "shared."

RESERVED = frozenset({NAME, MANAGED_BY, "pod-template-hash"})
"""Keys outside our own domain that users can't set on pods and Services."""

GRPC_PORT = 8500
REST_PORT = 8501
AGENT_PORT = 8502


def shared(name: str) -> str:
    """Return the name by which labels and keys know a TFModelServer: with a dot, which no TFModel's name has."""
    return f"{SHARED_PREFIX}{name}"


def is_shared(server: str) -> bool:
    """Tell whether a server, as labels and keys know it, is a TFModelServer."""
    return server.startswith(SHARED_PREFIX)


def object_name(server: str) -> str:
    """Return the name of the TFModel or TFModelServer, and of its Deployment, that labels and keys know as ``server``."""
    return server.removeprefix(SHARED_PREFIX)


def of_model(tfmodel: str) -> str:
    """Return the label on the pods of a shared server that answer for ``tfmodel``."""
    return f"{MODEL_PREFIX}{tfmodel}"


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
