"""The NetworkPolicy of one server: gRPC's port is also the server's administration, so not everybody gets to it."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import metadata

OPERATOR = {"matchLabels": {labels.NAME: "tfmodel-operator"}}


def network_policy(model: spec.Host, operator_namespace: str) -> dict[str, Any]:
    """Return the policy: the kubelet's probes always pass, and connections within the pod.

    Args:
        operator_namespace: Where the operator runs; ``""``: outside the cluster, so nobody knows from which address.
    """
    name = metadata.server_name(model)
    # Agents answer clients too: a client may read the metrics of both, and a drain wants a token.
    clients = {
        "from": [dict(source) for source in model.server.network_policy.sources] or [{"podSelector": {}}],
        "ports": [_port(labels.GRPC_PORT), _port(labels.REST_PORT), _port(labels.AGENT_PORT)],
    }
    operator: dict[str, Any] = {"ports": [_port(labels.AGENT_PORT)]}
    if operator_namespace:
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}}
        operator = {"from": [{"namespaceSelector": namespace, "podSelector": OPERATOR}], **operator}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata.child(model, name),
        "spec": {
            "podSelector": {"matchLabels": labels.selector(model.server_label)},
            "policyTypes": ["Ingress"],
            "ingress": [clients, operator],
        },
    }


def _port(number: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": number}
