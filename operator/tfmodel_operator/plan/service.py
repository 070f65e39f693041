"""The Service of one server."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import metadata


def service(model: spec.TFModel) -> dict[str, Any]:
    """Return the Service in front of ``model``'s server: REST on 8501, gRPC on 8500."""
    name = metadata.server_name(model)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata.child(model, name),
        "spec": {
            "type": "ClusterIP",
            "selector": labels.selector(name),
            "ports": [
                {"name": "grpc", "port": labels.GRPC_PORT, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "grpc"},
                {"name": "rest", "port": labels.REST_PORT, "targetPort": "rest", "protocol": "TCP", "appProtocol": "http"},
            ],
        },
    }


def endpoints(model: spec.TFModel) -> dict[str, str]:
    """Return where clients inside the cluster reach the model."""
    host = f"{metadata.server_name(model)}.{model.namespace}.svc"
    return {
        "rest": f"http://{host}:{labels.REST_PORT}/v1/models/{model.model_name}",
        "grpc": f"{host}:{labels.GRPC_PORT}",
    }
