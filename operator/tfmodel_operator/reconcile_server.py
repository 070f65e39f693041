"""One pass over one TFModelServer: who is on it, its objects, the marks on its pods, its status, and word to its models."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator import applying, publish
from tfmodel_operator.api import facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors, existence, store
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.plan import join, moves, packing
from tfmodel_operator.plan import shared as plans
from tfmodel_operator.status import pace
from tfmodel_operator.status import server as statuses
from tfmodel_operator.world import SharedDesired, World
from tfmodel_serving import model_config

log = logging.getLogger(__name__)


async def reconcile(key: Key, world: World) -> float | None:
    """Bring the cluster one step closer to the spec of a TFModelServer and of the models that ask to be on it.

    Args:
        key: As :func:`labels.shared` makes it.

    Returns, Raises:
        As :func:`tfmodel_operator.reconcile.reconcile`.
    """
    body = world.store.owner(key)
    if body is None or "deletionTimestamp" in body["metadata"]:
        world.forget(key)
        for model in world.store.pointing(key):
            world.tell(model)
        return None  # its children go with it, by their owner references
    try:
        server = spec.parse_server(body)
        asking, again = _asking(server, key, world)
        desired = await _bring_about(server, asking, body, key, world)
    except (spec.InvalidSpec, model_config.InvalidModelConfig) as error:
        finding = Finding("False", Reason.INVALID_SPEC, str(error))
        world.invalid[key] = dataclasses.replace(finding, message=f"TFModelServer {body['metadata']['name']}: {error}")
        for model in world.store.pointing(key):
            world.tell(model)
        status = statuses.invalid(body.get("status", {}), finding, body["metadata"]["generation"], world.now())
        return await publish.publish(body, status, key, world)
    if desired is None:
        return 0.0
    world.invalid.pop(key, None)
    return min(await _report(server, desired, body, key, world), again, desired.again_in_seconds or pace.STEADY_SECONDS)


def _asking(server: spec.ModelServer, key: Key, world: World) -> tuple[list[spec.TFModel], float]:
    """Return the models that are to be on a server, and in how many seconds one that has moved away may leave."""
    found, again, now = [], pace.STEADY_SECONDS, datetime.datetime.now(datetime.UTC)
    for name in world.store.pointing(key):
        body = world.store.model(name)
        model = _parsed(body) if body is not None else None
        if model is None:
            continue
        service = world.store.find({"kind": kinds.SERVICE.name, "metadata": {"namespace": name[0], "name": name[1]}})
        lingers = moves.lingers_seconds(service, server.server, now) if moves.left(service) == key[1] else 0.0
        if target(model, body) == key[1] or moves.points_to(service) == key[1] or lingers:
            found.append(model)
            again = min(again, lingers or again)
    return found, again


def target(model: spec.TFModel, body: Body | None) -> str:
    """Return the shared server that a model asks for, or that was chosen for it, as labels have it; ``""``: none."""
    if model.server_ref:
        return labels.shared(model.server_ref)
    chosen = store.chosen(body)
    return labels.shared(chosen) if chosen else ""


def _parsed(body: Body) -> spec.TFModel | None:
    """Return a TFModel, or None if it can't be acted on, which its own status says."""
    try:
        return spec.parse(body) if "deletionTimestamp" not in body["metadata"] else None
    except spec.InvalidSpec:
        return None


async def _bring_about(
    server: spec.ModelServer, asking: Iterable[spec.TFModel], body: Body, key: Key, world: World
) -> SharedDesired | None:
    """Make the objects be as they should, unless nothing has changed since they were; None: the server is gone.

    Raises:
        model_config.InvalidModelConfig: No config can be published.
    """
    memory, children, now = world.memory(key), world.store.children(key), time.monotonic()
    pods = children.pods
    asking = tuple(asking)
    sizes = observed.sizes(_facts(key, world)) if server.memory_budget_bytes is not None else {}
    known = memory.shared
    if known is not None and memory.holds(world.store.edition(key), now) and known.holds(asking, sizes, pods):
        return known
    edition, memory.shared = world.store.edition(key), None
    joined = join.join(server, asking, join.incumbents(_configmap(key, world)), sizes)
    absent = await _absent(server, joined.members, children.deployment, world)
    plan = plans.make_plan(server, joined.members, absent, world.platform, children, datetime.datetime.now(datetime.UTC))
    if (
        body.get("status", {}).get("conditions")
        and world.applier.missing(plan.objects)
        and not await existence.exists(body, world.client, world.store)
    ):
        return None
    in_place, problem = await applying.apply(plan.objects, key, world)
    if in_place and world.store.owner(key) is body:
        edition = world.store.edition(key)
    memory.edition = edition
    steady = pace.STALLED_SECONDS if problem or absent else pace.STEADY_SECONDS
    memory.until = now + min(steady, plan.again_in_seconds or steady)
    memory.shared = SharedDesired(
        server=server,
        asking=asking,
        sizes=sizes,
        pods=pods if plan.depends_on_pods else None,
        joined=joined,
        absent=frozenset(absent),
        config_hash=plan.config_hash,
        config_bytes=sum(len(text.encode()) for text in _texts(plan.objects[0])),
        again_in_seconds=min(steady, plan.again_in_seconds or steady),
        problem=problem,
    )
    memory.remember_config(plan.config_hash, joined.members)
    return memory.shared


def _texts(configmap: Mapping[str, Any]) -> tuple[str, ...]:
    return configmap["data"]["models.config"], configmap["data"]["agent.json"]


def _configmap(key: Key, world: World) -> Body | None:
    return world.store.children(key).objects.get((kinds.CONFIG_MAP.name, f"{labels.object_name(key[1])}-models"))


async def _absent(
    server: spec.ModelServer, members: Mapping[str, spec.TFModel], deployment: Body | None, world: World
) -> set[str]:
    """Return the claims that are wanted, not mounted yet, and don't exist: pods with them could not start, for nobody's good."""
    absent = set()
    for claim in sorted(plans.wanted_claims(server, members.values()) - plans.mounted_claims(deployment)):
        try:
            found = await world.client.get(kinds.CLAIM, server.namespace, claim)
        except errors.NotFound:
            absent.add(claim)
        else:
            absent |= {claim} if "deletionTimestamp" in found["metadata"] else set()
    return absent


def _facts(key: Key, world: World) -> tuple[facts.PodFacts, ...]:
    return observe.pod_facts(world.store.children(key).deployment, _pods(key, world), world.agents.report)


def _pods(key: Key, world: World) -> tuple[Body, ...]:
    """Return the pods of the server that are not on their way out."""
    found, name = world.store.children(key).pods, labels.object_name(key[1])
    return tuple(pod for pod in found if workload.belongs_to(pod, name) and not workload.terminating(pod))


async def _report(server: spec.ModelServer, desired: SharedDesired, body: Body, key: Key, world: World) -> float:
    """Mark the pods, let the models judge by what is so, and have status say it; return the seconds until the next look."""
    pods = _pods(key, world)
    world.agents.follow(key, pods)
    seen = facts.ServerFacts(
        config_hash=desired.config_hash,
        config_problem=desired.problem,
        deployment=workload.deployment_facts(world.store.children(key).deployment),
        pods=_facts(key, world),
    )
    members = desired.joined.members
    sliced = observed.by_model(seen.pods, members, desired.config_hash, world.memory(key).knows_config(members))
    await applying.mark(pods, desired.config_hash, members, sliced, world)
    _tell_models(facts.Shared(server=server, members=members, refused=_refused(desired), seen=seen, pods=sliced), key, world)
    if world.agents.pending(key):
        return pace.MOVING_SECONDS  # the first word of each agent brings us back
    status = statuses.status(server, seen, _load(server, desired, seen, sliced), body.get("status", {}), world.now())
    return await publish.publish(body, status, key, world)


def _refused(desired: SharedDesired) -> dict[str, Finding]:
    """Return why models can't be served, by name of the TFModel: the limits, or a claim that isn't there."""
    refused = dict(desired.joined.refused)
    for name, model in desired.joined.members.items():
        if (claim := model.source.claim_name) in desired.absent:
            message = f"PersistentVolumeClaim {claim} does not exist, or is being deleted: create it, or correct claimName"
            refused[name] = Finding("False", Reason.SOURCE_UNAVAILABLE, message)
    return refused


def _load(
    server: spec.ModelServer, desired: SharedDesired, seen: facts.ServerFacts, sliced: Mapping[str, tuple[facts.PodFacts, ...]]
) -> statuses.Load:
    joined, budget = desired.joined, server.memory_budget_bytes
    sizes = observed.sizes(seen.pods)
    memory = {name: packing.estimate(model.memory_bytes, sizes.get(model.model_name)) for name, model in joined.members.items()}
    estimated = sum(size for size in memory.values() if size is not None)
    return statuses.Load(
        joined=len(joined.members),
        loaded=sum(observed.answers(sliced[name], model.model_name)[1] for name, model in joined.members.items()),
        refused=len(joined.refused),
        config_bytes=desired.config_bytes,
        disk_bytes=observed.disk_bytes(seen.pods),
        estimated_bytes=estimated,
        unknown=sum(size is None for size in memory.values()),
        budget=packing.show(budget) if budget is not None else "",
        estimated=packing.show(estimated),
    )


def _tell_models(now: facts.Shared, key: Key, world: World) -> None:
    """Have those models looked at for which something is otherwise than after the last pass."""
    before, world.shared[key] = world.shared.get(key), now
    if before is None or before.server != now.server:
        for model in world.store.selecting(key[0]):
            world.tell(model)
    deployment = before is None or before.seen.deployment != now.seen.deployment or before.server != now.server
    for model in world.store.pointing(key):
        name = model[1]
        if deployment or before is None or _about(name, before) != _about(name, now):
            world.tell(model)


def _about(name: str, shared: facts.Shared) -> tuple[Any, ...]:
    return shared.members.get(name), shared.refused.get(name), shared.pods.get(name), shared.seen.config_problem
