"""The kinds of objects we read and write, in one table: where the API server has them, and which we own."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api import labels

Key = tuple[str, str]
"""The unit of work: namespace, and the name of a TFModel, which is also that of its own server; or of a shared server, as
:func:`labels.shared` gives it, which no TFModel can have."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects.

    Args:
        plural: As in URLs and in RBAC rules.
    """

    name: str
    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str = "") -> str:
        """Return the URL path of an object, or of the collection in one namespace (None: in all)."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        return f"{root}{scope}/{self.plural}{'/' if name else ''}{name}"


MODEL = Kind("TFModel", labels.API_VERSION, "tfmodels")
MODEL_SERVER = Kind("TFModelServer", labels.API_VERSION, "tfmodelservers")
CONFIG_MAP = Kind("ConfigMap", "v1", "configmaps")
SERVICE = Kind("Service", "v1", "services")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments")
DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
POD = Kind("Pod", "v1", "pods")
CLAIM = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases")
EVENT = Kind("Event", "events.k8s.io/v1", "events")

WRITTEN = (MODEL, MODEL_SERVER)
"""What people write, and kopf watches."""
OWNED = (CONFIG_MAP, SERVICE, DEPLOYMENT, DISRUPTION_BUDGET, NETWORK_POLICY)
"""What plans consist of: applied, healed and pruned."""
WATCHED = (*OWNED, POD)
"""What our reflectors follow, by the label :data:`labels.SERVER`."""
BY_NAME = {kind.name: kind for kind in (*WRITTEN, *WATCHED, LEASE, EVENT)}
