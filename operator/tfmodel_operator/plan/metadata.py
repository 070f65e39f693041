"""Names and metadata of children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels, spec


def server_name(model: spec.Host) -> str:
    """Return the name of the Deployment of ``model``'s server, and of a dedicated one's Service."""
    return model.name


def config_name(model: spec.Host) -> str:
    """Return the name of the ConfigMap of ``model``'s server."""
    return f"{server_name(model)}-models"


def fixed_config_name(model: spec.TFModel, content: str) -> str:
    """Return the name of the ConfigMap for one content alone, of which ``content`` is the hash."""
    return f"{config_name(model)}-{content}"


def headless_name(model: spec.TFModel) -> str:
    """Return the name of the headless Service of ``model``'s server; no new TFModel may end like that."""
    return f"{server_name(model)}-headless"


def child(model: spec.Host, name: str, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the metadata of a child of ``model``; the owner reference makes the cluster delete it with its owner."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": model.namespace,
        "labels": labels.of_server(model.server_label),
        "ownerReferences": [
            {
                "apiVersion": labels.API_VERSION,
                "kind": model.kind,
                "name": model.name,
                "uid": model.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    return {**metadata, "annotations": dict(annotations)} if annotations else metadata
