"""One pass over one TFModel that shares a server: its Service, and its status by what the server's last pass has found."""

from __future__ import annotations

import dataclasses
import datetime
import time
from typing import Any

from tfmodel_operator import applying, placing, publish, server_objects
from tfmodel_operator.api import facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import existence, pointing
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.plan import moves, service
from tfmodel_operator.status import joined as statuses
from tfmodel_operator.status import pace
from tfmodel_operator.world import Shared, World


async def reconcile(model: spec.TFModel, body: Body, key: Key, world: World) -> float:
    """Bring a model one step closer to being served by the shared server that it asks for.

    Returns, Raises:
        As :func:`tfmodel_operator.reconcile.reconcile`.
    """
    server, problem = placing.place(model, body, world)
    target = (key[0], labels.shared(server))
    shared = world.shared.get(target)
    if problem is None:
        problem = world.invalid.get(target) or (shared.refused.get(model.name) if shared is not None else None)
    is_placed_anew = model.server_selector is not None and server != pointing.chosen(body)
    if problem is None and not is_placed_anew and not _is_judged(model, shared):
        return pace.MOVING_SECONDS  # the pass over the server brings us back
    if world.agents.pending(target) or is_home_unheard(key, world):
        return pace.MOVING_SECONDS  # the first word of each agent does
    again = None
    if shared is not None and not is_placed_anew:
        again, failed = await _serve(model, body, shared, target, world)
        problem = problem or failed
    if again == 0.0:
        return 0.0
    if problem is None and not is_placed_anew and world.shared.get(target) is not shared:
        return 0.0  # another pass over the server came while the Service was written: what it found counts
    if is_placed_anew:
        world.memory(key).written = float("-inf")  # the server takes it in once status says so
    seen, home = _facts(model, shared, target, problem, world)
    status = statuses.of_joined(seen, home, server, body.get("status", {}), _endpoints(model, shared), world.timestamp())
    joining = pace.JOINING_SECONDS if not body.get("status", {}).get("conditions") and not is_placed_anew else 0.0
    seconds = await publish.publish(body, status, key, world, gather_seconds=joining)
    if is_placed_anew:
        world.tell(target)
    return min(seconds, again or seconds)


def _endpoints(model: spec.TFModel, shared: Shared | None) -> dict[str, Any]:
    progress = shared.steps.get(model.name) if shared is not None else None
    return service.endpoints(model, progress.step.config if progress is not None else None)


def _is_judged(model: spec.TFModel, shared: Shared | None) -> bool:
    """Tell whether the last pass over the server was about this model as it is now."""
    return shared is not None and shared.members.get(model.name) == model


async def _serve(
    model: spec.TFModel, body: Body, shared: Shared, target: Key, world: World
) -> tuple[float | None, Finding | None]:
    """Have the Service point where the model answers.

    Returns:
        The seconds until it may be otherwise (0: the model is gone), and why it can't be made, if that is for somebody to mend.
    """
    key, now = (model.namespace, model.name), world.now()
    live = live_service(key, world)
    if live is None and model.name in shared.refused:
        return None, None
    if moves.points_to(live) != model.name:
        world.agents.follow(key, ())  # of pods of its own, which it may have had
    home = service_home(model, target[1], world, now)
    lingers = moves.lingers_seconds(live, shared.server.server, now) if home.moved else 0.0
    just_moved = home.server != moves.points_to(live)
    moved = home.moved if just_moved or lingers else ""
    wanted = service.service(model, shared.server.server, home.server, moved)
    gone = body.get("status", {}).get("conditions") and world.applier.missing([wanted])
    if gone and not await existence.exists(body, world.client, world.store):
        return 0.0, None
    # What a model has that had servers of its own stays until its Service has left them.
    own = model.name in {home.server, moved.partition(" ")[0]}
    _, problem = await applying.apply([wanted], key, world, prune=not own)
    if problem is not None:
        return pace.STALLED_SECONDS, problem
    return (lingers or pace.MOVING_SECONDS) if moved else home.again_in_seconds, None


def live_service(key: Key, world: World) -> Body | None:
    """Return a model's Service as it is."""
    return world.store.find({"kind": kinds.SERVICE.name, "metadata": {"namespace": key[0], "name": key[1]}})


def service_home(model: spec.TFModel, target: str, world: World, now: datetime.datetime) -> moves.Home:
    """Return where the Service of a model is to point.

    Args:
        target: Where the model asks to be served, as labels have it.
    """
    key = (model.namespace, model.name)
    live = live_service(key, world)
    there = pods_on(model, target, world)
    everywhere = observed.answers(there, model.model_name)[1] and _are_selected(there, model, target, world)
    somewhere = any(
        pod.ready and (pod.agent is None or observed.answers([pod], model.model_name)[0]) for pod in _selected(model, live, world)
    )
    answering = world.memory(key).answering_seconds(target, everywhere, time.monotonic())
    return moves.home(target, live, answering_seconds=answering, home_answers=somewhere, now=now)


def _are_selected(pods: tuple[facts.PodFacts, ...], model: spec.TFModel, server: str, world: World) -> bool:
    """Tell whether the ready ones of these pods have the mark by which the Service of a model selects them on a shared server."""
    if not labels.is_shared(server):
        return True
    marked = {
        pod["metadata"]["name"]
        for pod in world.store.children((model.namespace, server)).pods
        if labels.of_model(model.name) in pod["metadata"].get("labels", {})
    }
    return all(pod.name in marked for pod in pods if pod.ready)


def is_home_unheard(key: Key, world: World) -> bool:
    """Tell whether it is not known yet what the pods serve that the Service of a model selects, as after a start of ours."""
    home = moves.points_to(live_service(key, world))
    if home == key[1]:
        server_objects.live_pods(key, world)
        return world.agents.pending(key)
    there = key[0], home
    owner = world.store.owner(there)
    if owner is None or "deletionTimestamp" in owner["metadata"] or there in world.invalid:
        return False  # no pass over it will tell
    return there not in world.shared


def is_moving(key: Key, world: World) -> bool:
    """Tell whether a model that asks for servers of its own is still on its way from a shared one."""
    live = live_service(key, world)
    return labels.is_shared(moves.points_to(live)) or bool(moves.left(live))


def own_home(model: spec.TFModel, world: World) -> moves.Home | None:
    """Return where the Service of a model that asks for servers of its own is to point; None: there."""
    key, now = (model.namespace, model.name), world.now()
    if not is_moving(key, world):
        return None
    live = live_service(key, world)
    home = service_home(model, model.server_label, world, now)
    stays = home.server != moves.points_to(live) or moves.lingers_seconds(live, model.server, now)
    return home if stays else dataclasses.replace(home, moved="")


def serving(body: Body, key: Key, world: World) -> tuple[facts.PodFacts, ...]:
    """Return the pods that the Service of a model selects, as far as they are about it; none: not those of a shared server.

    Args:
        body: Its spec may be one that can't be acted on.
    """
    shared = world.shared.get((key[0], moves.points_to(live_service(key, world))))
    return shared.pods.get(body["metadata"]["name"], ()) if shared is not None else ()


def pods_on(model: spec.TFModel, server: str, world: World) -> tuple[facts.PodFacts, ...]:
    """Return the pods of a server, as far as they are about a model.

    Args:
        server: As labels have it: a shared one, or the model's own.
    """
    if labels.is_shared(server):
        shared = world.shared.get((model.namespace, server))
        return shared.pods.get(model.name, ()) if shared is not None else ()
    if server != model.name:
        return ()
    return server_objects.pod_facts((model.namespace, model.name), world)


def _selected(model: spec.TFModel, live: Body | None, world: World) -> tuple[facts.PodFacts, ...]:
    """Return the pods that clients get to: of a server that is gone, or can't be acted on, those that are still marked."""
    home = moves.points_to(live)
    key = (model.namespace, home)
    if not labels.is_shared(home) or key in world.shared:
        return pods_on(model, home, world)
    children, mark = world.store.children(key), labels.of_model(model.name)
    pods = [pod for pod in children.pods if mark in pod["metadata"].get("labels", {}) and not workload.terminating(pod)]
    return observe.pod_facts(children.deployment, pods, world.agents.report)


def _facts(
    model: spec.TFModel, shared: Shared | None, target: Key, problem: Finding | None, world: World
) -> tuple[facts.Facts, tuple[facts.PodFacts, ...]]:
    """Return what is known of a model on the server it asks for, and the pods that clients get to."""
    home = _selected(model, live_service((model.namespace, model.name), world), world)
    there = pods_on(model, target[1], world)
    if problem is None and shared is None:
        problem = Finding("False", Reason.MODEL_LOADING, f"TFModelServer {labels.object_name(target[1])} is about to take it in")
    progress = shared.steps.get(model.name) if shared is not None and problem is None else None
    seen = facts.Facts(
        model=model,
        config_hash=shared.seen.config_hash if shared is not None else "",
        config_problem=problem or (shared.seen.config_problem if shared is not None else None),
        deployment=shared.seen.deployment if shared is not None else facts.DeploymentFacts(),
        pods=statuses.serving(there or home),
        rollout=progress.rollout if progress is not None else facts.Rollout(),
    )
    return seen, home
