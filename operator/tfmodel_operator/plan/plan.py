"""All objects of one TFModel, in the order in which they are applied."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tfmodel_operator.api import labels, server_spec, spec
from tfmodel_operator.api.server_spec import Switch
from tfmodel_operator.plan import configmap as configmaps
from tfmodel_operator.plan import deployment as deployments
from tfmodel_operator.plan import disruption, networkpolicy, service, update_strategy
from tfmodel_operator.plan.platform import Platform


class Live(Protocol):
    """What exists of one server."""

    @property
    def deployment(self) -> Mapping[str, Any] | None: ...

    @property
    def pods(self) -> Sequence[Mapping[str, Any]]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The complete desired objects of one server.

    Args:
        objects: In the order in which they are applied: what pods need comes before the Deployment. What is ours, exists and
            isn't among them is to be deleted.
        deployment: The one among ``objects``.
        config_hash: What its agents report once they have read the ConfigMap.
        depends_on_pods: It may change with the pods, too.
        again_in_seconds: When time alone will change the plan; None: never.
    """

    objects: tuple[dict[str, Any], ...]
    deployment: dict[str, Any]
    config_hash: str
    depends_on_pods: bool = False
    again_in_seconds: float | None = None


def make_plan(model: spec.TFModel, platform: Platform, live: Live, now: datetime.datetime) -> Plan:
    """Return what should exist for ``model``; equal inputs give equal plans.

    Args:
        now: With a time zone. It counts only while pods wait for accelerators.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: Its config can't be published.
    """
    configmap = configmaps.configmap(model, [model])
    return of_host(model, (configmap, service.service(model), service.headless(model)), platform, live, now)


def of_host(host: spec.Host, first: Sequence[dict[str, Any]], platform: Platform, live: Live, now: datetime.datetime) -> Plan:
    """Return the plan for the servers of ``host``.

    Args:
        first: The ConfigMap, and then what else comes before the Deployment.
    """
    configmap = first[0]
    used, template = deployments.template(host, platform, live.deployment)
    template_hash = template["metadata"]["annotations"][labels.TEMPLATE]
    choice = update_strategy.choose(host.server, live.deployment, live.pods, template_hash, now)
    count = deployments.replicas(host, live.deployment)
    deployment = deployments.deployment(host, used, template, choice.strategy, count)
    guarded = host.server.network_policy.policy is Switch.ENABLED
    policies = (networkpolicy.network_policy(host, platform.namespace),) if guarded else ()
    budgets = (disruption.budget(host),) if _pods(count, live.deployment) > 1 else ()
    return Plan(
        objects=(*first, *policies, *budgets, deployment),
        deployment=deployment,
        config_hash=configmaps.content_hash(configmap),
        depends_on_pods=choice.depends_on_pods,
        again_in_seconds=choice.again_in_seconds,
    )


def _pods(count: int | None, live: Mapping[str, Any] | None) -> int:
    """Return how many pods there are to be, whoever says so."""
    if count is not None:
        return count
    return int(live["spec"].get("replicas", server_spec.DEFAULT_REPLICAS)) if live is not None else server_spec.DEFAULT_REPLICAS
