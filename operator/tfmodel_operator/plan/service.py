"""The Services of one server: one for clients, and a headless one for gRPC clients that balance by themselves."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import metadata
from tfmodel_operator.plan.rollout.config import Config
from tfmodel_serving import model_config

GRPC = {"name": "grpc", "port": labels.GRPC_PORT, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "grpc"}
REST = {"name": "rest", "port": labels.REST_PORT, "targetPort": "rest", "protocol": "TCP", "appProtocol": "http"}


def service(model: spec.TFModel) -> dict[str, Any]:
    """Return the Service in front of ``model``'s server: REST on 8501, gRPC on 8500."""
    wanted = model.server.service
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata.child(model, metadata.server_name(model), wanted.annotations),
        "spec": {
            "type": str(wanted.type),
            "selector": labels.selector(metadata.server_name(model)),
            "ports": [dict(GRPC), dict(REST)],
        },
    }


def headless(model: spec.TFModel) -> dict[str, Any]:
    """Return the headless Service: its name resolves to all ready pods, so a gRPC client can spread its requests over them."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata.child(model, metadata.headless_name(model)),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": labels.selector(metadata.server_name(model)),
            "ports": [dict(GRPC)],
        },
    }


def endpoints(model: spec.TFModel, config: Config | None = None) -> dict[str, Any]:
    """Return where clients inside the cluster reach the model: the promoted version, labels, and a candidate on trial."""
    host = f"{metadata.server_name(model)}.{model.namespace}.svc"
    rest = f"http://{host}:{labels.REST_PORT}/v1/models"
    paths: dict[str, Any] = {}
    if config is not None and config.labels:
        paths["labels"] = {label: f"{rest}/{model.model_name}/labels/{label}" for label in sorted(config.labels)}
    if config is not None and config.on_trial:
        paths["candidate"] = f"{rest}/{model_config.candidate_name(model.model_name)}"
    return {
        **paths,
        "rest": f"{rest}/{model.model_name}",
        "grpc": f"{host}:{labels.GRPC_PORT}",
        "headless": f"dns:///{metadata.headless_name(model)}.{model.namespace}.svc:{labels.GRPC_PORT}",
    }
