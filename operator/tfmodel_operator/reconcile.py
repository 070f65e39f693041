"""One pass over one TFModel: plan, apply, observe, status, in this order and from the left each time."""

from __future__ import annotations

import datetime
import logging
import time
from typing import Any

from tfmodel_operator import publish, reconcile_joined, reconcile_server
from tfmodel_operator.api import facts, kinds, labels, rules, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors, existence
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.plan import plan as plans
from tfmodel_operator.plan import service
from tfmodel_operator.status import pace
from tfmodel_operator.status import status as statuses
from tfmodel_operator.world import Desired, World
from tfmodel_serving import model_config

log = logging.getLogger(__name__)


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
    again = await _report(desired, body, key, world)
    return min(again, desired.again_in_seconds or again)


async def _report(desired: Desired, body: Body, key: Key, world: World) -> float:
    """Have status say what is so; return the seconds until the next look."""
    seen = await _observe(desired, key, world)
    if world.agents.pending(key):
        return pace.MOVING_SECONDS  # the first word of each agent brings us back
    memory, before = world.memory(key), body.get("status", {})
    if memory.judged is not None and memory.judged[0] == seen and memory.judged[1] is before:
        return pace.next_look(before)
    status = statuses.status(seen, before, service.endpoints(desired.model), world.now())
    if status == before:
        memory.judged = seen, before
    return await publish.publish(body, status, key, world)


async def _bring_about(body: Body, key: Key, world: World) -> Desired:
    """Make the objects that follow from spec be as they should, unless nothing has changed since they were.

    Raises:
        spec.InvalidSpec, model_config.InvalidModelConfig: Nothing follows from it.
        Vanished: See there.
    """
    memory, children, now = world.memory(key), world.store.children(key), time.monotonic()
    if memory.desired and memory.holds(world.store.edition(key), now) and memory.desired.follows_from(children):
        return memory.desired
    edition, memory.desired = world.store.edition(key), None
    model = spec.parse(body)
    plan = plans.make_plan(model, world.platform, children, datetime.datetime.now(datetime.UTC))
    if (
        body.get("status", {}).get("conditions")
        and world.applier.missing(plan.objects)
        and not await existence.exists(body, world.client, world.store)
    ):
        raise Vanished
    in_place, problem = await _apply(plan, key, world)
    if in_place and world.store.model(key) is body:
        edition = world.store.edition(key)  # what has changed meanwhile is what we changed
    pods = children.pods if plan.depends_on_pods else None
    memory.desired = Desired(model, plan.config_hash, plan.again_in_seconds, pods, problem)
    memory.edition = edition
    steady = pace.STALLED_SECONDS if problem else pace.STEADY_SECONDS
    memory.until = now + min(steady, plan.again_in_seconds or steady)
    return memory.desired


async def _apply(plan: plans.Plan, key: Key, world: World) -> tuple[bool, Finding | None]:
    """Apply the whole plan; return whether it is in place, and why it can't be, if that is for somebody to mend."""
    try:
        return await world.applier.apply(plan.objects, key), None
    except errors.Rejected as error:
        return False, Finding("False", Reason.REJECTED_BY_API_SERVER, str(error))
    except errors.ForeignObject as error:
        return False, Finding("False", Reason.NAME_CONFLICT, str(error))
    except errors.Leftover as error:
        return False, Finding("False", Reason.WAITING_FOR_PODS, str(error))


async def _observe(desired: Desired, key: Key, world: World) -> facts.Facts:
    pods = _pods(key, world)
    if desired.problem is None:
        await _touch(pods, desired.config_hash, world)
    return observe.observe(
        desired.model,
        world.store.children(key).deployment,
        pods,
        world.agents.report,
        config_hash=desired.config_hash,
        config_problem=desired.problem,
    )


def _pods(key: Key, world: World) -> tuple[Body, ...]:
    """Return the pods of the server that are not on their way out, whose agents are followed from now on."""
    found = world.store.children(key).pods
    pods = tuple(pod for pod in found if workload.belongs_to(pod, key[1]) and not workload.terminating(pod))
    world.agents.follow(key, pods)
    return pods


async def _touch(pods: tuple[Body, ...], config_hash: str, world: World) -> None:
    """Annotate pods whose agent has an older config, which makes the kubelet bring them the new one at once."""
    for pod in pods:
        metadata, report = pod["metadata"], world.agents.report(pod["metadata"]["uid"])
        touched = metadata.get("annotations", {}).get(labels.CONFIG_HASH) == config_hash
        if touched or report.state is None or report.state.config_hash == config_hash:
            continue
        # The UID makes it a conflict, not a new pod, when the pod has gone meanwhile.
        identity = {key: metadata[key] for key in ("name", "namespace", "uid")}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {**identity, "annotations": {labels.CONFIG_HASH: config_hash}}}
        try:
            world.store.upsert(kinds.POD.name, await world.client.apply(manifest), ours=True)
        except (errors.Conflict, errors.NotFound, errors.Rejected) as error:
            log.info(
                "Can't touch a pod: its config will come by itself, later", extra={"pod": metadata["name"], "error": str(error)}
            )


def _invalid(body: Body, error: Exception, key: Key, world: World) -> dict[str, Any]:
    too_large = isinstance(error, model_config.ModelConfigTooLarge)
    finding = Finding("False", Reason.CONFIG_TOO_LARGE if too_large else Reason.INVALID_SPEC, str(error))
    pods = observe.pod_facts(world.store.children(key).deployment, _pods(key, world), world.agents.report)
    name = str(body.get("spec", {}).get("modelName", key[1]))
    generation = body["metadata"]["generation"]
    return statuses.invalid(body.get("status", {}), finding, generation, world.now(), pods=pods, model_name=name)
