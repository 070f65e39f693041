"""One pass over one TFModel: plan, apply, observe, status, in this order and from the left each time."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from typing import Any

from tfmodel_operator.api import conditions, facts, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.store import Children, Key, Store
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.plan import plan as plans
from tfmodel_operator.plan import service
from tfmodel_operator.status import status as statuses
from tfmodel_serving import model_config

MOVING_SECONDS = 10.0
"""What moves tells us so itself, by watches and by agents; looks are the belt to these braces."""
STALLED_SECONDS = 10.0
"""The mend may be something no watch of ours tells of, such as a stranger's Service that is deleted."""
STEADY_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Everything a pass reads from and writes to.

    Args:
        agent_image: Image of this operator, which is also the agents'.
    """

    store: Store
    client: ApiClient
    applier: Applier
    agents: Agents
    agent_image: str

    def now(self) -> str:
        """Return the time as Kubernetes writes it."""
        return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def reconcile(key: Key, world: World) -> float | None:
    """Bring the cluster one step closer to the spec of the TFModel called ``key``; safe to repeat, safe to interrupt.

    Returns:
        Seconds until the next look, if nothing happens before; None: never.

    Raises:
        cluster.errors.ApiError: The API server could not be read or written; the pass is to be repeated with back-off.
    """
    body = world.store.model(key)
    if body is None or "deletionTimestamp" in body["metadata"]:
        world.agents.follow(key, ())
        world.applier.forget(key)
        return None  # its children go with it, by their owner references
    before = body.get("status", {})
    try:
        model = spec.parse(body)
        plan = plans.make_plan(model, world.agent_image, world.store.children(key).deployment)
    except (spec.InvalidSpec, model_config.InvalidModelConfig) as error:
        too_large = isinstance(error, model_config.ModelConfigTooLarge)
        finding = Finding("False", Reason.CONFIG_TOO_LARGE if too_large else Reason.INVALID_SPEC, str(error))
        pods = observe.pod_facts(world.store.children(key).deployment, _pods(key, world), world.agents.report)
        name = str(body.get("spec", {}).get("modelName", key[1]))
        status = statuses.invalid(before, finding, body["metadata"]["generation"], world.now(), pods=pods, model_name=name)
    else:
        if not await _exists(body, key, world):
            return None if world.store.model(key) is None else 0.0
        problem = await _apply(plan, key, world)
        seen = _observe(model, plan, problem, key, world)
        if world.agents.pending(key):
            return MOVING_SECONDS  # the first word of each agent brings us back
        status = statuses.status(seen, before, service.endpoints(model), world.now())
    if status != before:
        await _write_status(body, status, world)
    return _next_look(status)


async def _exists(body: dict[str, Any], key: Key, world: World) -> bool:
    """Tell whether the TFModel is still there, before the first child is made for it.

    A deletion that fell into a gap of the watch is never told; children of such a ghost would be collected and made for ever.
    """
    children = world.store.children(key)
    if children.configmap and children.service and children.deployment:
        return True
    metadata = body["metadata"]
    try:
        found = await world.client.get("TFModel", labels.API_VERSION, metadata["namespace"], metadata["name"])
    except errors.NotFound:
        found = None
    if found is not None and found["metadata"]["uid"] == metadata["uid"]:
        return True
    world.store.remove("TFModel", body)
    if found is not None:  # deleted, and created anew
        world.store.upsert("TFModel", found)
    return False


async def _apply(plan: plans.Plan, key: Key, world: World) -> Finding | None:
    """Apply the whole plan; return why it can't be, if that is for the user to mend."""
    children = world.store.children(key)
    try:
        for manifest in plan.objects:
            await world.applier.apply(manifest, children)
        await _touch_pods(children, plan, world)
    except errors.Rejected as error:
        return Finding("False", Reason.REJECTED_BY_API_SERVER, str(error))
    except errors.ForeignObject as error:
        return Finding("False", Reason.NAME_CONFLICT, str(error))
    return None


async def _touch_pods(children: Children, plan: plans.Plan, world: World) -> None:
    """Annotate running pods with the config's hash, which makes the kubelet bring it to them at once."""
    stale = [
        pod["metadata"]
        for pod in children.pods
        if workload.belongs_to(pod, plan.deployment["metadata"]["name"])
        and pod["metadata"].get("annotations", {}).get(labels.CONFIG_HASH) != plan.config_hash
        and "deletionTimestamp" not in pod["metadata"]
    ]
    for metadata in stale:
        # The UID makes it a conflict, not a new pod, when the pod has gone meanwhile.
        identity = {key: metadata[key] for key in ("name", "namespace", "uid")}
        touched = {**identity, "annotations": {labels.CONFIG_HASH: plan.config_hash}}
        try:
            pod = await world.client.apply({"apiVersion": "v1", "kind": "Pod", "metadata": touched})
        except (errors.Conflict, errors.NotFound):
            continue
        world.store.upsert("Pod", pod)


def _observe(model: spec.TFModel, plan: plans.Plan, problem: Finding | None, key: Key, world: World) -> facts.Facts:
    deployment = world.store.children(key).deployment
    pods, report = _pods(key, world), world.agents.report
    return observe.observe(model, deployment, pods, report, config_hash=plan.config_hash, config_problem=problem)


def _pods(key: Key, world: World) -> tuple[dict[str, Any], ...]:
    """Return the pods of the server that are not on their way out, whose agents are followed from now on."""
    found = world.store.children(key).pods
    pods = tuple(pod for pod in found if workload.belongs_to(pod, key[1]) and not workload.terminating(pod))
    world.agents.follow(key, pods)
    return pods


async def _write_status(body: dict[str, Any], status: dict[str, Any], world: World) -> None:
    metadata = body["metadata"]
    _log_transition(body, status)
    manifest = {
        "apiVersion": labels.API_VERSION,
        "kind": "TFModel",
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")},
        "status": status,
    }
    try:
        written = await world.client.apply(manifest, subresource="status")
    except (errors.Conflict, errors.NotFound):
        return  # deleted, or deleted and created anew: there is an event for that
    world.store.upsert("TFModel", written)


def _log_transition(body: dict[str, Any], status: dict[str, Any]) -> None:
    def ready(conditions: list[dict[str, Any]]) -> tuple[Any, Any]:
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), (None, None))

    was, now = ready(body.get("status", {}).get("conditions", [])), ready(status["conditions"])
    if was != now:
        message = next(c["message"] for c in status["conditions"] if c["type"] == "Ready")
        metadata = body["metadata"]
        log.info(
            "Ready is %s",
            now[0],
            extra={
                "namespace": metadata["namespace"],
                "tfmodel": metadata["name"],
                "generation": metadata["generation"],
                "reason": now[1],
                "detail": message,
            },
        )


def _next_look(status: dict[str, Any]) -> float:
    """Return the seconds until the next look: what moves is followed closely, what only somebody else can change is not."""
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    if found.get(conditions.Type.RECONCILING) == "True":
        return MOVING_SECONDS
    return STALLED_SECONDS if found.get(conditions.Type.STALLED) == "True" else STEADY_SECONDS
