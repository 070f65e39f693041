"""One pass over one TFModelServer: who is on it, its objects, the marks on its pods, its status, and word to its models."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Mapping

from tfmodel_operator import applying, publish
from tfmodel_operator.api import facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors, existence, store
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.plan import configmap, join, moves, packing
from tfmodel_operator.plan import shared as plans
from tfmodel_operator.plan.progress import Progress
from tfmodel_operator.status import pace
from tfmodel_operator.status import server as statuses
from tfmodel_operator.world import Pods, Shared, SharedDesired, World
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
        desired = await _bring_about(server, tuple(asking), body, key, world)
    except (spec.InvalidSpec, model_config.InvalidModelConfig) as error:
        finding = Finding("False", Reason.INVALID_SPEC, str(error))
        world.invalid[key] = dataclasses.replace(finding, message=f"TFModelServer {body['metadata']['name']}: {error}")
        for model in world.store.pointing(key):
            world.tell(model)
        status = statuses.invalid(body.get("status", {}), finding, body["metadata"]["generation"], world.now())
        return await publish.publish(body, status, key, world)
    if desired is None:
        return pace.MOVING_SECONDS  # the first word of each agent brings us back, or the watch tells
    world.invalid.pop(key, None)
    return min(await _report(server, desired, body, key, world), again, max(0.0, world.memory(key).until - time.monotonic()))


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
    server: spec.ModelServer, asking: tuple[spec.TFModel, ...], body: Body, key: Key, world: World
) -> SharedDesired | None:
    """Make the objects be as they should, unless nothing has changed since they were.

    Returns:
        None: Agents have not been heard yet, and what was decided before is not known; or the server is gone.

    Raises:
        model_config.InvalidModelConfig: No config can be published.
    """
    memory, children = world.memory(key), world.store.children(key)
    if memory.shared is None and children.deployment is not None and world.agents.pending(key):
        return None
    sizes = observed.sizes(_facts(key, world)) if server.memory_budget_bytes is not None else {}
    known = memory.shared if memory.holds(world.store.edition(key), time.monotonic()) else None
    if known is not None and known.holds(asking, sizes, children.pods) and (found := _unmoved(known, key, world)):
        memory.shared = found
        return found
    return await _carry_out(server, asking, sizes, body, key, world)


def _unmoved(known: SharedDesired, key: Key, world: World) -> SharedDesired | None:
    """Return what follows now that the pods say this, if nothing has to be written for it, or None."""
    members = known.joined.members
    said = _said(known.config_hash, members, key, world)
    moved = {name: model for name, model in members.items() if said[name] != known.said[name]}
    steps = _steps(known.server, moved, said, key, world)
    if any(step.publication != known.steps[name].publication for name, step in steps.items()):
        return None
    return dataclasses.replace(known, steps={**known.steps, **steps}, said=said)


def _said(config_hash: str, members: Mapping[str, spec.TFModel], key: Key, world: World) -> Pods:
    return observed.by_model(_facts(key, world), members, config_hash, world.memory(key).knows_config(config_hash))


def _steps(
    server: spec.ModelServer, members: Mapping[str, spec.TFModel], said: Pods, key: Key, world: World
) -> dict[str, Progress]:
    """Return the next step of each of these members."""
    if not members:
        return {}
    published, deployment, now = _configmap(key, world), world.store.children(key).deployment, datetime.datetime.now(datetime.UTC)
    content = configmap.read(published)
    return {name: plans.step(server, model, published, content, deployment, said[name], now) for name, model in members.items()}


async def _carry_out(
    server: spec.ModelServer, asking: tuple[spec.TFModel, ...], sizes: Mapping[str, int], body: Body, key: Key, world: World
) -> SharedDesired | None:
    """Plan anew and apply the plan; None: the server is gone."""
    memory, children, now = world.memory(key), world.store.children(key), time.monotonic()
    edition, memory.shared = world.store.edition(key), None
    published = _configmap(key, world)
    joined = join.join(server, asking, join.incumbents(published), sizes)
    content = configmap.read(published)
    before = content.hash if content is not None else ""
    if content is not None and before not in memory.configs:
        named = {name: configmap.share_of(content, model.model_name) for name, model in joined.members.items()}
        memory.remember_config(before, named)
    steps = _steps(server, joined.members, _said(before, joined.members, key, world), key, world)
    absent = await _absent(server, joined.members, children.deployment, world)
    pods = children.pods
    plan = plans.make_plan(
        server, joined.members, steps, published, absent, world.platform, children, datetime.datetime.now(datetime.UTC)
    )
    if (
        body.get("status", {}).get("conditions")
        and world.applier.missing(plan.objects)
        and not await existence.exists(body, world.client, world.store)
    ):
        return None
    memory.remember_config(plan.config_hash, plan.shares)
    in_place, problem = await applying.apply(plan.objects, key, world)
    said, goes_on = _said(plan.config_hash, joined.members, key, world), False
    if in_place and world.store.owner(key) is body:
        edition = world.store.edition(key)  # what has changed meanwhile is what we changed
        after = _steps(server, joined.members, said, key, world)
        goes_on = any(step.publication != steps[name].publication for name, step in after.items())
        steps = after
    memory.edition = edition
    steady = pace.STALLED_SECONDS if problem or absent else pace.STEADY_SECONDS
    again = 0.0 if goes_on else min(steady, plan.again_in_seconds or steady)
    memory.until = now + again
    memory.shared = SharedDesired(
        server=server,
        asking=asking,
        sizes=sizes,
        pods=pods if plan.depends_on_pods else None,
        joined=joined,
        absent=frozenset(absent),
        steps=steps,
        said=said,
        config_hash=plan.config_hash,
        config_bytes=plan.config_bytes,
        again_in_seconds=again,
        problem=problem,
    )
    return memory.shared


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
    """Return the pods of the server that are not on their way out, whose agents are followed from now on."""
    found, name = world.store.children(key).pods, labels.object_name(key[1])
    pods = tuple(pod for pod in found if workload.belongs_to(pod, name) and not workload.terminating(pod))
    world.agents.follow(key, pods)
    return pods


async def _report(server: spec.ModelServer, desired: SharedDesired, body: Body, key: Key, world: World) -> float:
    """Mark the pods, let the models judge by what is so, and have status say it; return the seconds until the next look."""
    pods = _pods(key, world)
    seen = facts.ServerFacts(
        config_hash=desired.config_hash,
        config_problem=desired.problem,
        deployment=workload.deployment_facts(world.store.children(key).deployment),
        pods=_facts(key, world),
    )
    members = desired.joined.members
    said = _said(desired.config_hash, members, key, world)
    await applying.mark(pods, desired.config_hash, members, said, key, world)
    told = Shared(server=server, members=members, refused=_refused(desired), seen=seen, pods=said, steps=desired.steps)
    _tell_models(told, key, world)
    if world.agents.pending(key):
        return pace.MOVING_SECONDS  # the first word of each agent brings us back
    status = statuses.status(server, seen, _load(server, desired, seen, said), body.get("status", {}), world.now())
    return await publish.publish(body, status, key, world)


def _refused(desired: SharedDesired) -> dict[str, Finding]:
    """Return why models can't be served, by name of the TFModel: the limits, or a claim that isn't there."""
    refused = dict(desired.joined.refused)
    for name, model in desired.joined.members.items():
        if (claim := model.source.claim_name) in desired.absent:
            message = f"PersistentVolumeClaim {claim} does not exist, or is being deleted: create it, or correct claimName"
            refused[name] = Finding("False", Reason.SOURCE_UNAVAILABLE, message)
    return refused


def _load(server: spec.ModelServer, desired: SharedDesired, seen: facts.ServerFacts, said: Pods) -> statuses.Load:
    joined, budget = desired.joined, server.memory_budget_bytes
    sizes = observed.sizes(seen.pods)
    memory = {name: packing.estimate(model.memory_bytes, sizes.get(model.model_name)) for name, model in joined.members.items()}
    estimated = sum(size for size in memory.values() if size is not None)
    return statuses.Load(
        joined=len(joined.members),
        loaded=sum(observed.answers(said[name], model.model_name)[1] for name, model in joined.members.items()),
        refused=len(joined.refused),
        config_bytes=desired.config_bytes,
        disk_bytes=observed.disk_bytes(seen.pods),
        estimated_bytes=estimated,
        unknown=sum(size is None for size in memory.values()),
        budget=packing.show(budget) if budget is not None else "",
        estimated=packing.show(estimated),
    )


def _tell_models(now: Shared, key: Key, world: World) -> None:
    """Have those models looked at for which something is otherwise than after the last pass."""
    before, world.shared[key] = world.shared.get(key), now
    if before is None or before.server != now.server:
        for model in world.store.selecting(key[0]):
            world.tell(model)
    anew = before is None or before.server != now.server
    anew = anew or before is None or before.seen.deployment != now.seen.deployment
    anew = anew or before is None or before.seen.config_problem != now.seen.config_problem
    for model in world.store.pointing(key):
        name = model[1]
        if anew or before is None or before.about(name) != now.about(name):
            world.tell(model)
