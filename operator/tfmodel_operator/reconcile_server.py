"""One pass over one TFModelServer: who is on it, its objects, the marks on its pods, its status, and word to its models."""

from __future__ import annotations

import dataclasses
import time

from tfmodel_operator import applying, publish, server_objects
from tfmodel_operator.api import facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import pointing
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.observe import workload
from tfmodel_operator.plan import held, moves, packing
from tfmodel_operator.status import pace
from tfmodel_operator.status import server as statuses
from tfmodel_operator.world import Pods, Shared, SharedDesired, World
from tfmodel_serving import model_config


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
        desired = await server_objects.bring_about(server, tuple(asking), body, key, world)
    except (spec.InvalidSpec, model_config.InvalidModelConfig) as error:
        finding = Finding("False", Reason.INVALID_SPEC, str(error))
        world.invalid[key] = dataclasses.replace(finding, message=f"TFModelServer {body['metadata']['name']}: {error}")
        for model in world.store.pointing(key):
            world.tell(model)
        status = statuses.invalid(body.get("status", {}), finding, body["metadata"]["generation"], world.timestamp())
        return await publish.publish(body, status, key, world)
    if desired is None:
        return pace.MOVING_SECONDS  # the first word of each agent brings us back, or the watch tells
    world.invalid.pop(key, None)
    if desired.again_in_seconds == 0.0:
        return 0.0  # the next step is due already: nobody judges by what is so only until then
    return min(await _report(server, desired, body, key, world), again, max(0.0, world.memory(key).until - time.monotonic()))


def _asking(server: spec.ModelServer, key: Key, world: World) -> tuple[list[spec.TFModel], float]:
    """Return the models that are to be on a server, and in how many seconds one that has moved away may leave."""
    found, again, now = [], pace.STEADY_SECONDS, world.now()
    for name in world.store.pointing(key):
        body = world.store.model(name)
        model = _parsed(body, key, world) if body is not None and "deletionTimestamp" not in body["metadata"] else None
        if model is None:
            continue
        service = world.store.find({"kind": kinds.SERVICE.name, "metadata": {"namespace": name[0], "name": name[1]}})
        lingers = moves.lingers_seconds(service, server.server, now) if moves.left(service) == key[1] else 0.0
        if (labels.shared(model.server_ref or pointing.chosen(body)) == key[1]) or moves.points_to(service) == key[1] or lingers:
            found.append(model)
            again = min(again, lingers or again)
    return found, again


def _parsed(body: Body, key: Key, world: World) -> spec.TFModel | None:
    """Return a TFModel; one that can't be acted on, which its own status says, as it is served on this server; None: it isn't."""
    try:
        return spec.parse(body)
    except spec.InvalidSpec:
        return held.last_good(body, server_objects.published(key, world))


async def _report(server: spec.ModelServer, desired: SharedDesired, body: Body, key: Key, world: World) -> float:
    """Mark the pods, let the models judge by what is so, and have status say it; return the seconds until the next look."""
    pods = server_objects.live_pods(key, world)
    seen = facts.ServerFacts(
        config_hash=desired.config_hash,
        config_problem=desired.problem,
        deployment=workload.deployment_facts(world.store.children(key).deployment),
        pods=server_objects.pod_facts(key, world),
    )
    members, said = desired.joined.members, desired.said  # not what is said by now: the steps follow from this
    await applying.mark(pods, desired.config_hash, members, said, key, world)
    told = Shared(server=server, members=members, refused=_refused(desired), seen=seen, pods=said, steps=desired.steps)
    _tell_models(told, key, world)
    if world.agents.pending(key):
        return pace.MOVING_SECONDS  # the first word of each agent brings us back
    load = _load(server, desired, seen, said)
    status = statuses.status(server, seen, load, body.get("status", {}), world.timestamp())
    joining = pace.JOINING_SECONDS if load.loaded < load.joined else 0.0
    return await publish.publish(body, status, key, world, gather_seconds=joining)


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
