"""The Deployment of one server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import containers, metadata, platform, pods

Manifest = Mapping[str, Any]


def deployment(
    model: spec.Host, used: platform.Platform, template: Mapping[str, Any], strategy: Mapping[str, Any], count: int | None
) -> dict[str, Any]:
    """Return the complete Deployment of ``model``'s servers.

    Args:
        used: The platform that ``template`` was made with.
        count: Of replicas; None leaves the field to others.
    """
    name = metadata.server_name(model)
    annotations = {labels.PLATFORM: platform.record(used), **({labels.REPLICAS: "spec"} if count is not None else {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata.child(model, name, annotations),
        "spec": {
            **({"replicas": count} if count is not None else {}),
            "selector": {"matchLabels": labels.selector(model.server_label)},
            "strategy": dict(strategy),
            "revisionHistoryLimit": 3,
            "template": dict(template),
        },
    }


def template(model: spec.Host, current: platform.Platform, live: Manifest | None) -> tuple[platform.Platform, dict[str, Any]]:
    """Return the pod template for ``model``, and the platform it follows from."""
    token = drain_token(model, live)
    return platform.choose(lambda candidate: pods.template(model, candidate, token), live, current, upgrade=model.upgrade)


def replicas(model: spec.Host, live: Manifest | None) -> int | None:
    """Return the number of replicas to set; None leaves it to others, such as an autoscaler, or to the API server's default, 1.

    Once set, the field stays ours: letting go of it would make it 1 at once, in the middle of serving.
    """
    if model.server.given_replicas is not None or live is None:
        return model.server.given_replicas
    ours = (live["metadata"].get("annotations") or {}).get(labels.REPLICAS) == "spec"
    return int(live["spec"].get("replicas", model.server.replicas)) if ours else None


def drain_token(model: spec.Host, live: Manifest | None) -> str:
    """Return the word by which the agent knows the kubelet: unknown to the network, and stable, so that no pod is replaced.

    It follows from the owner's UID; a Deployment that was adopted (``--cascade=orphan``) keeps the one it has.
    """
    if live is not None:
        for container in live["spec"]["template"]["spec"].get("initContainers", []):
            for argument in container.get("args", []):
                if argument.startswith(containers.DRAIN_TOKEN):
                    return str(argument.removeprefix(containers.DRAIN_TOKEN))
    return hashlib.sha256(f"drain {model.uid}".encode()).hexdigest()[:32]
