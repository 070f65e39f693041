"""Which ConfigMap a pod template mounts.

The one of the server is changed while pods have it mounted. Where a new version is to come with new pods, its config is a
ConfigMap of its own, so that old pods, and new ones made while the Deployment goes back, never see the other's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels

VOLUME = "config"


def config_name(template: Mapping[str, Any]) -> str:
    """Return the name of the ConfigMap that ``template`` mounts, ``""`` if it is not one of our templates."""
    volumes = template.get("spec", {}).get("volumes") or ()
    return next((str(one["configMap"]["name"]) for one in volumes if one["name"] == VOLUME and "configMap" in one), "")


def mounting(template: Mapping[str, Any], name: str, *, fixed: bool) -> dict[str, Any]:
    """Return ``template`` with ConfigMap ``name`` mounted.

    The template's hash stays: it is that of all else.

    Args:
        fixed: It is one for one content alone; then the pods carry its name.
    """
    made = copy.deepcopy(dict(template))
    annotations = {key: value for key, value in (made["metadata"].get("annotations") or {}).items() if key != labels.CONFIG}
    made["metadata"]["annotations"] = {**annotations, **({labels.CONFIG: name} if fixed else {})}
    for volume in made["spec"]["volumes"]:
        if volume["name"] == VOLUME:
            volume["configMap"] = {**volume["configMap"], "name": name}
    return made


def fixed_name(made: Mapping[str, Any]) -> str:
    """Return the ConfigMap for one content alone that ``made``, a template or a pod, has; ``""``: the one that is changed."""
    return str(((made.get("metadata") or {}).get("annotations") or {}).get(labels.CONFIG) or "")


def is_going(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod is on its way out, or has ended: nothing starts in it any more."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
