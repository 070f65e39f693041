"""Names and metadata of children."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.api import labels, spec


def server_name(model: spec.TFModel) -> str:
    """Return the name of the server of ``model``, which is also its Deployment's and its Service's."""
    return model.name


def config_name(model: spec.TFModel) -> str:
    """Return the name of the ConfigMap of ``model``'s server."""
    return f"{server_name(model)}-models"


def child(model: spec.TFModel, name: str) -> dict[str, Any]:
    """Return the metadata of a child of ``model``; the owner reference makes the cluster delete it with its owner."""
    return {
        "name": name,
        "namespace": model.namespace,
        "labels": labels.of_server(server_name(model)),
        "ownerReferences": [
            {
                "apiVersion": labels.API_VERSION,
                "kind": "TFModel",
                "name": model.name,
                "uid": model.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
