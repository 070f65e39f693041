"""How far one model's rollout is, and its next step: from spec, what exists, and what the pods say, to the planner and back."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tfmodel_operator.api import facts, server_spec, spec
from tfmodel_operator.plan import configmap, mounted, platform
from tfmodel_operator.plan.rollout import facts as rollout_facts
from tfmodel_operator.plan.rollout import narrate, planner
from tfmodel_operator.plan.rollout.step import Step


class Live(Protocol):
    """What exists of one server."""

    @property
    def deployment(self) -> Mapping[str, Any] | None: ...

    @property
    def pods(self) -> Sequence[Mapping[str, Any]]: ...

    @property
    def configmaps(self) -> Sequence[Mapping[str, Any]]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Relocation:
    """The files that pods have are not in the place that spec names.

    Args:
        stays: Where they are until those in the other place have been loaded.
        is_tried: Those are loaded beside them, under a private name.
    """

    stays: spec.Claim
    is_tried: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """The next step, and what there is to say of the rollout.

    Args:
        relocation: Of a model on a shared server; None: its files are where spec says.
    """

    step: Step
    rollout: facts.Rollout
    relocation: Relocation | None = None

    @property
    def publication(self) -> tuple[object, ...]:
        """What of the step is written down: as long as it is the same, there is nothing to apply."""
        return self.step.config, self.step.template, self.step.record, self.relocation


def progress(model: spec.TFModel, found: rollout_facts.Facts, now: datetime.datetime) -> Progress:
    """Return how far ``model`` is on its server, and its next safe step; equal inputs give equal ones.

    Args:
        now: With a time zone.
    """
    step = planner.plan_rollout(desired(model), found, now.timestamp())
    return Progress(step, narrate.rollout(step, found, model.model_name))


def observed(
    model: spec.TFModel, live: Live, pods: Sequence[facts.PodFacts], template_hash: str, config_name: str
) -> rollout_facts.Facts:
    """Return what is so on ``model``'s own server, as far as it concerns its versions.

    Args:
        pods: Of the server, without those on their way out.
        template_hash: Of the template that spec asks for.
        config_name: Of the ConfigMap that is changed while pods have it mounted; it carries the records.
    """
    there = mounted_config(live, config_name)
    fixed = str(there["metadata"]["name"]) if there and there.get("immutable") else ""
    content = configmap.read(there)
    source = configmap.published_source(content, model.model_name) or model.source
    return rollout_facts.Facts(
        published=configmap.published(content, model.model_name),
        record=configmap.record_of(find(live, config_name), model.model_name),
        server=_server(live.deployment, pods, f"{template_hash} {model.source}", source),
        pods=tuple(pod(one, fixed) for one in pods),
    )


def desired(model: spec.TFModel) -> rollout_facts.Desired:
    """Return what the user wants of ``model``, as far as it concerns its versions."""
    return rollout_facts.Desired(
        model=model.model_name,
        policy=model.version_policy,
        labels=model.version_labels or None,
        rollout=model.rollout,
        retry=model.retry,
        memory=_memory(model.server),
    )


def _memory(server: server_spec.Server) -> rollout_facts.Memory:
    accelerator = server.accelerator
    return rollout_facts.Memory(
        limit_bytes=server.memory_limit,
        accelerator=accelerator.resource if accelerator else "",
        fraction=float(accelerator.memory_fraction) if accelerator and accelerator.memory_fraction else None,
        recreate=server.update_strategy is server_spec.UpdateStrategy.RECREATE,
    )


def find(live: Live, name: str) -> Mapping[str, Any] | None:
    """Return the ConfigMap called ``name``, or None."""
    return next((found for found in live.configmaps if found["metadata"]["name"] == name), None)


def mounted_config(live: Live, config_name: str) -> Mapping[str, Any] | None:
    """Return the ConfigMap that pods start with now."""
    name = mounted.config_name(live.deployment["spec"]["template"]) if live.deployment else ""
    return find(live, name or config_name)


def _server(
    deployment: Mapping[str, Any] | None, pods: Sequence[facts.PodFacts], wanted: str, source: spec.Claim
) -> rollout_facts.Server | None:
    """Return the live Deployment; where the files are counts as a part of its template: pods with others are other pods.

    Args:
        wanted: Names the template that spec asks for.
        source: Where the published files are.
    """
    if deployment is None:
        return None
    stuck = next((pod for pod in pods if pod.current and pod.problem), None)
    return rollout_facts.Server(
        replicas=deployment["spec"].get("replicas", server_spec.DEFAULT_REPLICAS),
        template=f"{platform.hash_of(deployment['spec']['template']) or ''} {source}",
        desired_template=wanted,
        problem=stuck.problem.message if stuck and stuck.problem else "",
        unschedulable=any(pod.current and pod.unschedulable for pod in pods),
    )


def pod(found: facts.PodFacts, fixed: str = "") -> rollout_facts.Pod:
    """Return a pod as the planner sees it.

    Args:
        fixed: The ConfigMap for one content alone that pods are to have; ``""``: the one that is changed.
    """
    return rollout_facts.Pod(
        found.name, found.ready, found.current, found.agent, found.crash, found.crashed_at, found.config != fixed
    )
