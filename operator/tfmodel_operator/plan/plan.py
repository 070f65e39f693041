"""All objects of one TFModel, in the order in which they are applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import spec
from tfmodel_operator.plan import configmap as configmaps
from tfmodel_operator.plan import deployment as deployments
from tfmodel_operator.plan import service as services


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The complete desired objects of one server.

    Args:
        config_hash: What its agents report once they have read ``configmap``.
    """

    configmap: dict[str, Any]
    deployment: dict[str, Any]
    service: dict[str, Any]
    config_hash: str

    @property
    def objects(self) -> tuple[dict[str, Any], ...]:
        return (self.configmap, self.service, self.deployment)


def make_plan(model: spec.TFModel, agent_image: str, live: Mapping[str, Any] | None = None) -> Plan:
    """Return what should exist for ``model``.

    Args:
        live: The Deployment as it is, or None.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: Its config can't be published.
    """
    configmap = configmaps.configmap(model)
    return Plan(
        configmap=configmap,
        deployment=deployments.deployment(model, agent_image, live),
        service=services.service(model),
        config_hash=configmaps.content_hash(configmap),
    )
