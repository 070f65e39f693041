"""All objects of one TFModel, in the order in which they are applied."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tfmodel_operator.api import facts, labels, server_spec, spec
from tfmodel_operator.api.server_spec import Switch
from tfmodel_operator.plan import deployment as deployments
from tfmodel_operator.plan import disruption, metadata, mounted, moves, networkpolicy, service, update_strategy
from tfmodel_operator.plan import publication as publications
from tfmodel_operator.plan.platform import Platform, hash_of, mark_of, recorded
from tfmodel_operator.plan.progress import Live, Progress, observed, progress
from tfmodel_operator.plan.rollout.step import Pods, Step


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The complete desired objects of one server.

    Args:
        objects: In the order in which they are applied: what pods need comes before the Deployment. What is ours, exists, and
            is neither among them nor ``kept`` is to be deleted.
        deployment: The one among ``objects``.
        progress: Of the rollout of its model's versions.
        config_hash: What its agents report once they have read the ConfigMap; ``""``: it isn't known.
        touches: Pods are to be told of that ConfigMap, because they have it mounted and it changes.
        template_hash: Of the template that spec asks for.
        kept: Kind and name of objects that stay as they are.
        depends_on_pods: It may change with the pods, too.
        again_in_seconds: When time alone will change the plan; None: never.
    """

    objects: tuple[dict[str, Any], ...]
    deployment: dict[str, Any]
    progress: Progress
    config_hash: str
    touches: bool
    template_hash: str
    kept: frozenset[tuple[str, str]] = frozenset()
    depends_on_pods: bool = False
    again_in_seconds: float | None = None


def make_plan(
    model: spec.TFModel,
    platform: Platform,
    live: Live,
    now: datetime.datetime,
    pods: Sequence[facts.PodFacts] = (),
    home: moves.Home | None = None,
) -> Plan:
    """Return what should exist for ``model``; equal inputs give equal plans.

    Args:
        now: With a time zone. It counts only while pods wait for accelerators, and while a version is on its way in.
        pods: What is known of the server's pods, without those on their way out.
        home: Where the Service points, if the model is on its way from a shared server.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: Its config can't be published.
    """
    used, template = deployments.template(model, platform, live.deployment)
    template_hash = template["metadata"]["annotations"][labels.TEMPLATE]
    found = look(model, live, pods, template_hash, now)
    published = publications.publication(model, found.step, live)
    if (
        found.step.template.pods is Pods.LIVE
        and live.deployment
        and hash_of(live.deployment["spec"]["template"]) != template_hash
    ):
        used, template = recorded(live.deployment) or used, live.deployment["spec"]["template"]
    template = mounted.mounting(template, published.name, fixed=published.fixed)
    choice = _choice(model, live, found.step, mark_of(template) or "", now)
    count = deployments.replicas(model, live.deployment)
    deployment = deployments.deployment(model, used, template, choice.strategy, count)
    home = home or moves.Home(model.server_label)
    client = service.service(model, model.server, home.server, home.moved)
    others = guards(model, platform, pods_wanted(count, live.deployment))
    return Plan(
        objects=(*published.objects, client, service.headless(model), *others, deployment),
        deployment=deployment,
        progress=found,
        config_hash=published.hash,
        touches=not published.fixed,
        template_hash=template_hash,
        kept=published.kept,
        depends_on_pods=choice.depends_on_pods,
        again_in_seconds=_sooner(choice.again_in_seconds, until(found.step, now)),
    )


def guards(host: spec.Host, platform: Platform, pods: int) -> tuple[dict[str, Any], ...]:
    """Return the NetworkPolicy and the PodDisruptionBudget of the servers of ``host``, as far as there are to be any."""
    guarded = host.server.network_policy.policy is Switch.ENABLED
    policies = (networkpolicy.network_policy(host, platform.namespace),) if guarded else ()
    return (*policies, *((disruption.budget(host),) if pods > 1 else ()))


def look(model: spec.TFModel, live: Live, pods: Sequence[facts.PodFacts], template_hash: str, now: datetime.datetime) -> Progress:
    """Return how far the rollout of ``model`` is; cheap, beside a whole plan."""
    return progress(model, observed(model, live, pods, template_hash, metadata.config_name(model)), now)


def until(step: Step, now: datetime.datetime) -> float | None:
    """Return the seconds until time alone changes ``step``; None: it doesn't."""
    return None if step.deadline is None else max(0.0, step.deadline - now.timestamp())


def _choice(model: spec.TFModel, live: Live, step: Step, mark: str, now: datetime.datetime) -> update_strategy.Choice:
    if step.template.recreate:
        return update_strategy.Choice(update_strategy.RECREATE, depends_on_pods=False)
    return update_strategy.choose(model.server, live.deployment, live.pods, mark, now)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)


def pods_wanted(count: int | None, live: Mapping[str, Any] | None) -> int:
    """Return how many pods there are to be, whoever says so."""
    if count is not None:
        return count
    return int(live["spec"].get("replicas", server_spec.DEFAULT_REPLICAS)) if live is not None else server_spec.DEFAULT_REPLICAS
