"""All objects of a shared server: one ConfigMap with the shares of all members, one Deployment with the claims of all.

The Services are the members' own (:mod:`tfmodel_operator.plan.service`). Each member's rollout is planned by itself, from what
the pods say of it alone; new versions are always loaded in the pods that are there, because the pods are everybody's.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from tfmodel_operator.api import facts, labels, rollout_spec, server_spec, spec
from tfmodel_operator.plan import configmap, deployment, join, plan, platform, progress, relocation, update_strategy
from tfmodel_operator.plan.rollout import facts as rollout_facts
from tfmodel_operator.plan.rollout import record as records
from tfmodel_operator.plan.rollout import step as rollout_step
from tfmodel_serving import agent_config

Manifest = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The complete desired objects of a shared server.

    Args:
        objects: In the order in which they are applied. What is ours, exists, and isn't among them is to be deleted.
        deployment, depends_on_pods, again_in_seconds: As in :class:`plan.Plan`.
        config_hash: What its agents report once they have read the ConfigMap.
        shares: What each member has in the ConfigMap, by name of the TFModel.
        config_bytes: Of both files.
    """

    objects: tuple[dict[str, Any], ...]
    deployment: dict[str, Any]
    config_hash: str
    shares: Mapping[str, configmap.Share]
    config_bytes: int
    depends_on_pods: bool
    again_in_seconds: float | None


def step(
    server: spec.ModelServer,
    model: spec.TFModel,
    published: Manifest | None,
    content: configmap.Content | None,
    live: Manifest | None,
    pods: Sequence[facts.PodFacts],
    now: datetime.datetime,
) -> progress.Progress:
    """Return how far the rollout of one member is, and its next safe step; equal inputs give equal ones.

    Args:
        published: The live ConfigMap.
        content: What it says.
        live: The live Deployment.
        pods: What they say of this model.
        now: With a time zone.
    """
    in_place = dataclasses.replace(model.rollout, strategy=rollout_spec.Strategy.IN_PLACE)
    there = dataclasses.replace(model, server=server.server, rollout=in_place)
    record = configmap.record_of(published, model.model_name)
    found = rollout_facts.Facts(
        published=configmap.published(content, model.model_name),
        record=record,
        server=_server(live, pods),
        pods=tuple(progress.pod(one) for one in _without_crashes(pods, record)),
    )
    if model.is_held:
        return _held(found)
    made = progress.progress(there, found, now)
    stays = relocation.relocation(model, published, content, mounted_claims(live), pods, made.step)
    if stays is None:
        return made
    said = relocation.finding(model, stays, pods)
    rollout = dataclasses.replace(made.rollout, finding=said or made.rollout.finding)
    return progress.Progress(made.step, rollout, stays)


def _without_crashes(pods: Sequence[facts.PodFacts], record: str) -> Sequence[facts.PodFacts]:
    """Return pods without the crashes of their server while a version of one model is on its way in.

    Which load has ended the server, the agents know. One that keeps ending while it serves takes back every promotion that can
    still be taken back: whose it is nobody knows, and what served before is what all have.
    """
    if not any(pod.crashed_at for pod in pods) or records.from_text(record).candidate is None:
        return pods
    return [dataclasses.replace(pod, crash="", crashed_at=None) for pod in pods]


def _held(found: rollout_facts.Facts) -> progress.Progress:
    """Return that a model keeps what it has: its spec doesn't say what should be instead."""
    kept, reason = records.from_text(found.record), "spec can't be acted on; what serves goes on serving"
    return progress.Progress(
        rollout_step.Step(None, rollout_step.Template(), kept, rollout_step.Phase.WAITING, reason), facts.Rollout()
    )


def _server(live: Manifest | None, pods: Sequence[facts.PodFacts]) -> rollout_facts.Server | None:
    """Return the server as a member's planner sees it: another template is no affair of one model, and pods of any serve it."""
    if live is None:
        return None
    return rollout_facts.Server(len(pods) or live["spec"].get("replicas", server_spec.DEFAULT_REPLICAS), "", "")


def make_plan(
    server: spec.ModelServer,
    members: Mapping[str, spec.TFModel],
    steps: Mapping[str, progress.Progress],
    published: Manifest | None,
    absent: Iterable[str],
    used: platform.Platform,
    live: progress.Live,
    now: datetime.datetime,
) -> Plan:
    """Return what should exist for ``server``; equal inputs give equal plans.

    Args:
        members: By name of the TFModel.
        steps: The next of each member, by name of the TFModel.
        published: The live ConfigMap.
        absent: Claims that don't exist: pods that want them could not start.
        now: With a time zone. It counts only while pods wait for accelerators.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: The config can't be published.
    """
    placed = {name: _placed(model, steps[name]) for name, model in members.items()}
    shares = _shares(server, members, steps, configmap.read(published))
    files = configmap.data(shares.values(), agent_config.Readiness.PER_MODEL)
    records = {model.model_name: steps[name].step.record for name, model in members.items()}
    made = configmap.configmap(server, files, records, {labels.MEMBERS: join.record(members)})
    gone = frozenset(absent)
    needed = wanted_claims(server, (*members.values(), *placed.values())) - gone
    host = _with_claims(server, needed, gone, used, live.deployment)
    with_platform, template = deployment.template(host, used, live.deployment)
    mark = platform.mark_of(template) or ""
    choice = update_strategy.choose(host.server, live.deployment, live.pods, mark, now)
    count = deployment.replicas(host, live.deployment)
    wanted = deployment.deployment(host, with_platform, template, choice.strategy, count)
    others = plan.guards(host, used, plan.pods_wanted(count, live.deployment))
    deadlines = [plan.until(one.step, now) for one in steps.values()]
    return Plan(
        objects=(made, *others, wanted),
        deployment=wanted,
        config_hash=configmap.content_hash(files),
        shares=shares,
        config_bytes=sum(len(files[name].encode()) for name in ("models.config", "agent.json")),
        depends_on_pods=choice.depends_on_pods,
        again_in_seconds=min((one for one in (choice.again_in_seconds, *deadlines) if one is not None), default=None),
    )


def _placed(model: spec.TFModel, now: progress.Progress) -> spec.TFModel:
    """Return ``model`` with its files where pods have them for now."""
    return model if now.relocation is None else dataclasses.replace(model, source=now.relocation.stays)


def _shares(
    server: spec.ModelServer,
    members: Mapping[str, spec.TFModel],
    steps: Mapping[str, progress.Progress],
    content: configmap.Content | None,
) -> dict[str, configmap.Share]:
    """Return what each member has in the ConfigMap; while nothing can be decided for one, what it has there now."""
    shares = {}
    for name, model in members.items():
        config = steps[name].step.config
        if config is None and (before := configmap.published(content, model.model_name)) is not None:
            config = before.config
        if config is None:
            continue
        shares[name] = configmap.share(_placed(model, steps[name]), config, server.server)
        if (moving := steps[name].relocation) is not None and moving.is_tried:
            shares[name] = shares[name].with_(configmap.tried(model, server.server))
    return shares


def wanted_claims(server: spec.ModelServer, members: Iterable[spec.TFModel]) -> set[str]:
    """Return the claims that the pods should have: those given in advance, and those of the members."""
    return {*server.volumes, *(model.source.claim_name for model in members)}


def mounted_claims(made: Manifest | None) -> set[str]:
    """Return the claims in the template of a Deployment."""
    return _claims(made["spec"]["template"]["spec"]) if made is not None else set()


def _claims(pod_spec: Mapping[str, Any]) -> set[str]:
    volumes = pod_spec.get("volumes", [])
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def _with_claims(
    server: spec.ModelServer, needed: set[str], gone: Set[str], used: platform.Platform, live: Manifest | None
) -> spec.ModelServer:
    """Return ``server`` with the claims to mount.

    A claim that nobody needs any more stays until the template changes for another reason: a model that leaves restarts no pod.
    One that is gone is such a reason.
    """
    mounted = mounted_claims(live) - gone
    if live is not None and needed < mounted:
        as_it_is = dataclasses.replace(server, claims=tuple(sorted(mounted)))
        _, template = deployment.template(as_it_is, used, live)
        if platform.hash_of(template) == platform.hash_of(live["spec"]["template"]):
            return as_it_is
    return dataclasses.replace(server, claims=tuple(sorted(needed)))
