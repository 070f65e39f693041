"""One pass over one TFModel: plan, apply, observe, status, in this order and from the left each time."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from tfmodel_operator import applying, publish, reconcile_joined, reconcile_server, server_objects
from tfmodel_operator.api import facts, labels, rules, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import existence
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import observe
from tfmodel_operator.plan import plan as plans
from tfmodel_operator.plan import service
from tfmodel_operator.status import pace
from tfmodel_operator.status import status as statuses
from tfmodel_operator.world import Desired, World
from tfmodel_serving import model_config


class Vanished(Exception):
    """The TFModel is not there any more, though no watch has told."""


async def reconcile(key: Key, world: World) -> float | None:
    """Bring the cluster one step closer to the spec of the TFModel called ``key``; safe to repeat, safe to interrupt.

    Returns:
        Seconds until the next look, if nothing happens before; None: never.

    Raises:
        cluster.errors.ApiError: The API server could not be read or written; the pass is to be repeated with back-off.
    """
    if labels.is_shared(key[1]):
        return await reconcile_server.reconcile(key, world)
    body = world.store.model(key)
    if body is None or "deletionTimestamp" in body["metadata"]:
        world.forget(key)
        return None  # its children go with it, by their owner references
    try:
        if rules.is_joined(body.get("spec")):
            return await reconcile_joined.reconcile(spec.parse(body), body, key, world)
        desired = await _bring_about(body, key, world)
    except (spec.InvalidSpec, model_config.InvalidModelConfig) as error:
        return await publish.publish(body, _invalid(body, error, key, world), key, world)
    except Vanished:
        return 0.0
    if desired is None:
        return pace.MOVING_SECONDS  # the first word of each agent brings us back
    again = await _report(desired, body, key, world)
    return min(again, max(0.0, world.memory(key).until - time.monotonic()))


async def _report(desired: Desired, body: Body, key: Key, world: World) -> float:
    """Have status say what is so; return the seconds until the next look."""
    await _touch(desired, key, world)
    if world.agents.pending(key):
        return pace.MOVING_SECONDS
    memory, before = world.memory(key), body.get("status", {})
    seen = observe.observe(
        desired.model,
        world.store.children(key).deployment,
        desired.said,
        config_hash=desired.config_hash,
        config_problem=desired.problem,
        rollout=desired.progress.rollout,
    )
    if memory.judged is not None and memory.judged[0] == seen and memory.judged[1] is before:
        return pace.next_look(before)
    endpoints = service.endpoints(desired.model, desired.progress.step.config)
    status = statuses.status(seen, before, endpoints, world.timestamp())
    if status == before:
        memory.judged = seen, before
    return await publish.publish(body, status, key, world)


async def _bring_about(body: Body, key: Key, world: World) -> Desired | None:
    """Make the objects that follow from spec and from what the pods say be as they should, unless that has been done.

    Returns:
        None: Agents have not been heard yet, and what was decided before is not known: nothing is to be decided now.

    Raises:
        spec.InvalidSpec, model_config.InvalidModelConfig: Nothing follows from it.
        Vanished: See there.
    """
    memory, children, said = world.memory(key), world.store.children(key), server_objects.pod_facts(key, world)
    if memory.desired is None and children.deployment is not None and world.agents.pending(key):
        return None
    if reconcile_joined.is_moving(key, world) and reconcile_joined.is_home_unheard(key, world):
        return None
    before = memory.desired if memory.holds(world.store.edition(key), time.monotonic()) else None
    if reconcile_joined.is_moving(key, world):
        before = None
    if before and before.follows_from(children) and (found := _unmoved(before, said, key, world)):
        memory.desired = found
        return found
    return await _carry_out(body, said, key, world)


def _unmoved(before: Desired, said: tuple[facts.PodFacts, ...], key: Key, world: World) -> Desired | None:
    """Return what follows now that the pods say this, if nothing has to be written for it, or None."""
    if said == before.said:
        return before
    found = plans.look(before.model, world.store.children(key), said, before.template_hash, world.now())
    if found.publication != before.progress.publication:
        return None
    publish.tell_step(before.progress, found)
    return dataclasses.replace(before, progress=found, said=said)


async def _carry_out(body: Body, said: tuple[facts.PodFacts, ...], key: Key, world: World) -> Desired:
    """Plan anew and apply the plan."""
    memory, children, now = world.memory(key), world.store.children(key), time.monotonic()
    edition, last, memory.desired = world.store.edition(key), memory.desired, None
    model = spec.parse(body)
    home = reconcile_joined.own_home(model, world)
    plan = plans.make_plan(model, world.platform, children, world.now(), said, home)
    if (
        body.get("status", {}).get("conditions")
        and world.applier.missing(plan.objects)
        and not await existence.exists(body, world.client, world.store)
    ):
        raise Vanished
    publish.tell_step(last.progress if last else None, plan.progress)
    in_place, problem = await applying.apply(plan.objects, key, world, kept=plan.kept)
    said, progress = server_objects.pod_facts(key, world), plan.progress
    if in_place and world.store.model(key) is body:
        edition = world.store.edition(key)  # what has changed meanwhile is what we changed
        progress = plans.look(model, children, said, plan.template_hash, world.now())
        publish.tell_step(plan.progress, progress)
    pods = children.pods if plan.depends_on_pods else None
    found = Desired(
        model, progress, plan.config_hash, plan.touches, plan.template_hash, plan.again_in_seconds, pods, said, problem
    )
    goes_on = progress.publication != plan.progress.publication
    memory.desired, memory.edition = found, edition
    steady = pace.refused_seconds(body.get("status", {}), world.now()) if problem else pace.STEADY_SECONDS
    if reconcile_joined.is_moving(key, world):
        steady = (home and home.again_in_seconds) or pace.MOVING_SECONDS
    memory.until = now if goes_on else now + min(steady, plan.again_in_seconds or steady)
    return found


async def _touch(desired: Desired, key: Key, world: World) -> None:
    """Annotate pods whose agent has an older config, which makes the kubelet bring them the new one at once."""
    if desired.problem is not None or not desired.touches or not desired.config_hash:
        return
    for pod in server_objects.live_pods(key, world):
        metadata, report = pod["metadata"], world.agents.report(pod["metadata"]["uid"])
        annotations = metadata.get("annotations", {})
        touched = annotations.get(labels.CONFIG_HASH) == desired.config_hash or labels.CONFIG in annotations
        if touched or report.state is None or report.state.config_hash == desired.config_hash:
            continue
        await applying.touch(pod, desired.config_hash, {}, world)
        world.memory(key).told = time.monotonic()


def _invalid(body: Body, error: Exception, key: Key, world: World) -> dict[str, Any]:
    too_large = isinstance(error, model_config.ModelConfigTooLarge)
    finding = Finding("False", Reason.CONFIG_TOO_LARGE if too_large else Reason.INVALID_SPEC, str(error))
    pods = reconcile_joined.serving(body, key, world) or server_objects.pod_facts(key, world)
    name = str(body.get("spec", {}).get("modelName", key[1]))
    generation = body["metadata"]["generation"]
    return statuses.invalid(body.get("status", {}), finding, generation, world.timestamp(), pods=pods, model_name=name)
