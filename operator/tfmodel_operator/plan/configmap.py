"""The ConfigMap of one server: what its agents should make it serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfmodel_operator.api import server_spec, spec
from tfmodel_operator.plan import metadata
from tfmodel_serving import agent_config, model_config

MOUNT = "/etc/tfmodel"
EMPTY = "model_config_list {\n}\n"
"""What model servers boot with: no model can then keep one from starting. A zero-length file would."""
MONITORING = 'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n'


def configmap(
    host: spec.Host,
    models: Sequence[spec.TFModel],
    readiness: agent_config.Readiness = agent_config.Readiness.EVERY_MODEL,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the ConfigMap for the servers of ``host``, on which ``models`` are served.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: It can't be written as a `model_config_list`.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.child(host, metadata.config_name(host), annotations),
        "data": {
            "models.config": model_config.to_text([entry(model) for model in models]),
            "agent.json": agent_config.to_json({model.model_name: settings(model, host.server) for model in models}, readiness),
            "boot.config": EMPTY,
            "monitoring.config": MONITORING,
        },
    }


def entry(model: spec.TFModel) -> model_config.Model:
    """Return the entry of ``model`` in the `model_config_list` of its server."""
    return model_config.Model(model.model_name, base_path(model), model.version_policy, model.version_labels)


def settings(model: spec.TFModel, server: server_spec.Server) -> agent_config.ModelSettings:
    """Return what the agents must know about ``model`` beside its `model_config_list` entry.

    Args:
        server: Where it is served.
    """
    batching = server.batching
    return agent_config.ModelSettings(
        source=str(model.source),
        warmup_policy=str(model.warmup.policy),
        min_records=model.warmup.min_records,
        max_batch_size=batching.max_batch_size if batching else 0,
    )


def content_hash(configmap: dict[str, Any]) -> str:
    """Return the hash that agents report once they have read this ConfigMap."""
    return agent_config.content_hash(configmap["data"]["models.config"], configmap["data"]["agent.json"])


def mount_path(claim: str) -> str:
    """Return where the claim of this name is mounted in the pods."""
    return f"/models/{claim}"


def base_path(model: spec.TFModel) -> str:
    """Return the directory with the version directories, as the pods see it."""
    return f"{mount_path(model.source.claim_name)}/{model.source.path}".rstrip("/")
