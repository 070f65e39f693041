"""The Services of one server: one for clients, and a headless one for gRPC clients that balance by themselves."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.api import labels, server_spec, spec
from tfmodel_operator.plan import metadata
from tfmodel_operator.plan.rollout.config import Config
from tfmodel_serving import model_config

GRPC = {"name": "grpc", "port": labels.GRPC_PORT, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "grpc"}
REST = {"name": "rest", "port": labels.REST_PORT, "targetPort": "rest", "protocol": "TCP", "appProtocol": "http"}


def service(model: spec.TFModel, server: server_spec.Server, home: str, moved: str = "") -> dict[str, Any]:
    """Return the Service in front of ``model``: REST on 8501, gRPC on 8500.

    On a shared server its endpoints are the pods that answer for the model.

    Args:
        server: How the pods are run that it asks for.
        home: Whose pods are selected, as :data:`labels.SERVER` has it: while a model moves, those that it leaves.
        moved: The annotation :data:`labels.MOVED`; ``""``: none.
    """
    wanted = server.service
    annotations = {**wanted.annotations, **({labels.MOVED: moved} if moved else {})}
    mark = {labels.of_model(model.name): labels.ANSWERS} if labels.is_shared(home) else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata.child(model, metadata.server_name(model), annotations),
        "spec": {
            "type": str(wanted.type),
            "selector": {**labels.selector(home), **mark},
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
    found: dict[str, Any] = {"rest": f"{rest}/{model.model_name}", "grpc": f"{host}:{labels.GRPC_PORT}"}
    if config is not None and config.labels:
        found["labels"] = {label: f"{rest}/{model.model_name}/labels/{label}" for label in sorted(config.labels)}
    if config is not None and config.on_trial:
        found["candidate"] = f"{rest}/{model_config.candidate_name(model.model_name)}"
    if model.is_joined:
        return found
    return {**found, "headless": f"dns:///{metadata.headless_name(model)}.{model.namespace}.svc:{labels.GRPC_PORT}"}
