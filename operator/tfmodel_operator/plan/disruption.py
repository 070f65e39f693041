"""The PodDisruptionBudget of one server."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import metadata


def budget(model: spec.Host) -> dict[str, Any]:
    """Return the budget: drained nodes take one pod at a time, and pods that don't serve don't hold up a drain.

    By maxUnavailable, because a minimum of all replicas would block every drain. It guards nothing of a single
    pod, and isn't made then.
    """
    name = metadata.server_name(model)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata.child(model, name),
        "spec": {
            "maxUnavailable": 1,
            "minAvailable": None,  # said, because with one that somebody set the API server refuses the whole
            "selector": {"matchLabels": labels.selector(model.server_label)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
