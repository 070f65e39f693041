"""What follows from a TFModelServer and the models that ask to be on it, and bringing it about."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping

from tfmodel_operator import applying, publish
from tfmodel_operator.api import facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors, existence
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.plan import configmap, held, join
from tfmodel_operator.plan import shared as plans
from tfmodel_operator.plan.progress import Progress
from tfmodel_operator.status import pace
from tfmodel_operator.world import Pods, SharedDesired, World


async def bring_about(
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
    sizes = observed.sizes(pod_facts(key, world)) if server.memory_budget_bytes is not None else {}
    is_in_force = memory.holds(world.store.edition(key), time.monotonic()) and not _waits_for_claim(key, world)
    known = memory.shared if is_in_force else None
    if known is not None and known.holds(asking, sizes, children.pods) and (found := _unmoved(known, key, world)):
        memory.shared = found
        return found
    return await _carry_out(server, asking, sizes, body, key, world)


def _unmoved(known: SharedDesired, key: Key, world: World) -> SharedDesired | None:
    """Return what follows now that the pods say this, if nothing has to be written for it, or None."""
    members = known.joined.members
    said = said_of(known.config_hash, members, key, world)
    moved = {name: model for name, model in members.items() if said[name] != known.said[name]}
    steps = _steps(known.server, moved, said, key, world)
    if any(step.publication != known.steps[name].publication for name, step in steps.items()):
        return None
    _tell(known.steps, steps)
    return dataclasses.replace(known, steps={**known.steps, **steps}, said=said)


def _tell(before: Mapping[str, Progress], after: Mapping[str, Progress]) -> None:
    for name, step in after.items():
        publish.tell_step(before.get(name), step, tfmodel=name)


def said_of(config_hash: str, members: Mapping[str, spec.TFModel], key: Key, world: World) -> Pods:
    return observed.by_model(pod_facts(key, world), members, config_hash, world.memory(key).knows_config(config_hash))


def _steps(
    server: spec.ModelServer, members: Mapping[str, spec.TFModel], said: Pods, key: Key, world: World
) -> dict[str, Progress]:
    """Return the next step of each of these members."""
    if not members:
        return {}
    live, deployment, now = published(key, world), world.store.children(key).deployment, world.now()
    content = configmap.read(live)
    return {name: plans.step(server, model, live, content, deployment, said[name], now) for name, model in members.items()}


async def _carry_out(
    server: spec.ModelServer, asking: tuple[spec.TFModel, ...], sizes: Mapping[str, int], body: Body, key: Key, world: World
) -> SharedDesired | None:
    """Plan anew and apply the plan; None: the server is gone."""
    memory, children, now = world.memory(key), world.store.children(key), time.monotonic()
    edition, last, memory.shared = world.store.edition(key), memory.shared, None
    live = published(key, world)
    keeping = functools.partial(held.keeping, content=configmap.read(live))
    joined = join.join(server, asking, join.incumbents(live), sizes, keeping)
    before = _published(joined.members, key, world)
    steps = _steps(server, joined.members, said_of(before, joined.members, key, world), key, world)
    absent, pods = await _absent(server, joined.members, key, world), children.pods
    plan = plans.make_plan(
        server,
        joined.members,
        steps,
        published(key, world),
        absent,
        world.platform,
        children,
        world.now(),
    )
    if await _is_gone(plan, body, world):
        return None
    memory.remember_config(plan.config_hash, plan.shares)
    _tell(last.steps if last else {}, steps)
    in_place, problem = await applying.apply(plan.objects, key, world)
    if in_place and world.store.owner(key) is body:
        edition = world.store.edition(key)  # what has changed meanwhile is what we changed
    said = said_of(plan.config_hash, joined.members, key, world)
    after = _steps(server, joined.members, said, key, world)  # of the same moment: none is told of before it is pinned
    _tell(steps, after)
    goes_on = any(step.publication != steps[name].publication for name, step in after.items())
    steady = pace.STALLED_SECONDS if problem or absent else pace.STEADY_SECONDS
    again = 0.0 if goes_on else min(steady, plan.again_in_seconds or steady)
    memory.edition, memory.until = edition, now + again
    memory.shared = SharedDesired(
        server=server,
        asking=asking,
        sizes=sizes,
        pods=pods if plan.depends_on_pods else None,
        joined=joined,
        absent=frozenset(absent),
        steps=after,
        said=said,
        config_hash=plan.config_hash,
        config_bytes=plan.config_bytes,
        again_in_seconds=again,
        problem=problem,
    )
    return memory.shared


def _published(members: Mapping[str, spec.TFModel], key: Key, world: World) -> str:
    """Return the hash of the published config, of which it is known from now on what each member has in it; ``""``: none."""
    content, memory = configmap.read(published(key, world)), world.memory(key)
    if content is None:
        return ""
    if content.hash not in memory.configs:
        shares = {name: configmap.share_of(content, model.model_name) for name, model in members.items()}
        memory.remember_config(content.hash, shares)
    return content.hash


async def _is_gone(plan: plans.Plan, body: Body, world: World) -> bool:
    """Tell whether the server was deleted though no watch has told: its objects were there, and are not."""
    known = body.get("status", {}).get("conditions") and world.applier.missing(plan.objects)
    return bool(known) and not await existence.exists(body, world.client, world.store)


def published(key: Key, world: World) -> Body | None:
    """Return the live ConfigMap of a shared server."""
    return world.store.children(key).objects.get((kinds.CONFIG_MAP.name, f"{labels.object_name(key[1])}-models"))


async def _absent(server: spec.ModelServer, members: Mapping[str, spec.TFModel], key: Key, world: World) -> set[str]:
    """Return the claims that don't exist, of those that are to be mounted: pods with them could not start, for nobody's good.

    One that is mounted has been deleted since, which shows when a pod can't start any more: then it must not take all models
    along. While pods that have it are still running, it is only about to be deleted, and is left to them.
    """
    absent, mounted = set(), plans.mounted_claims(world.store.children(key).deployment)
    asked = plans.wanted_claims(server, members.values()) - mounted
    for claim in sorted(asked | mounted if _waits_for_claim(key, world) else asked):
        try:
            found = await world.client.get(kinds.CLAIM, server.namespace, claim)
        except errors.NotFound:
            absent.add(claim)
        else:
            absent |= {claim} - mounted if "deletionTimestamp" in found["metadata"] else set()
    return absent


def _waits_for_claim(key: Key, world: World) -> bool:
    """Tell whether a pod of a shared server can't start for want of a claim."""
    found = (pod.problem for pod in pod_facts(key, world))
    return any(problem is not None and problem.reason is Reason.SOURCE_UNAVAILABLE for problem in found)


def pod_facts(key: Key, world: World) -> tuple[facts.PodFacts, ...]:
    """Return what is known of the pods of the server."""
    return observe.pod_facts(world.store.children(key).deployment, live_pods(key, world), world.agents.report)


def live_pods(key: Key, world: World) -> tuple[Body, ...]:
    """Return the pods of the server that are not on their way out, whose agents are followed from now on."""
    found, name = world.store.children(key).pods, labels.object_name(key[1])
    pods = tuple(pod for pod in found if workload.belongs_to(pod, name) and not workload.terminating(pod))
    world.agents.follow(key, pods)
    return pods
