"""One pass over one TFModel: plan, apply, observe, status, in this order and from the left each time."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Callable
from typing import Any

from tfmodel_operator.api import conditions, facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.store import Body, Children, Store
from tfmodel_operator.observe import observe, workload
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.plan import plan as plans
from tfmodel_operator.plan import service
from tfmodel_operator.plan.platform import Platform
from tfmodel_operator.status import events
from tfmodel_operator.status import status as statuses
from tfmodel_serving import model_config

MOVING_SECONDS = 10.0
"""What moves tells us so itself, by watches and by agents; looks are the belt to these braces."""
STALLED_SECONDS = 10.0
"""The mend may be something no watch of ours tells of, such as a stranger's Service that is deleted."""
STEADY_SECONDS = 600.0
"""After so long everything is compared anew, whatever is remembered."""
NEWS_SECONDS = 1.0
"""Between two writes of one status that says something new, unless Ready changes: a rollout has dozens of moments."""
NARRATION_SECONDS = 5.0
"""The same where only words and numbers are others."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Desired:
    """What follows from a spec, once it has been brought about; its objects are not kept.

    Args:
        config_hash: Of the published config.
        again_in_seconds: When time alone will change the plan; None: never.
        pods: Those the plan was made from; None: it depends on none.
        problem: Why it could not be brought about, if that is for somebody else to mend.
    """

    model: spec.TFModel
    config_hash: str
    again_in_seconds: float | None
    pods: tuple[Body, ...] | None
    problem: Finding | None

    def follows_from(self, children: Children) -> bool:
        """Tell whether the plan would be the same with these pods."""
        return self.pods is None or self.pods == children.pods


@dataclasses.dataclass(slots=True)
class Memory:
    """What a pass need not do again because nothing it depends on has changed; forgetting it costs time, and nothing else.

    Args:
        edition: Of the store, at which ``desired`` was brought about.
        until: Monotonic seconds, until which that holds good.
        judged: Facts and stored status from which no other status followed.
        written: Monotonic seconds of the last write of status; at first, of the first pass.
    """

    written: float
    edition: int = 0
    until: float = 0.0
    desired: Desired | None = None
    judged: tuple[facts.Facts, Any] | None = None

    def holds(self, edition: int, now: float) -> bool:
        """Tell whether ``desired`` is still what follows, as far as time and the store's edition tell."""
        return self.edition == edition and now < self.until


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Everything a pass reads from and writes to.

    Args:
        platform: This operator, as far as it shows in what it makes.
        busy: Tells whether other TFModels wait.
    """

    store: Store
    client: ApiClient
    applier: Applier
    agents: Agents
    recorder: Recorder
    platform: Platform
    busy: Callable[[], bool]
    memories: dict[Key, Memory] = dataclasses.field(default_factory=dict)

    def memory(self, key: Key) -> Memory:
        return self.memories.get(key) or self.memories.setdefault(key, Memory(written=time.monotonic()))

    def forget(self, key: Key) -> None:
        """Let go of all that is remembered of a TFModel that is gone."""
        self.agents.follow(key, ())
        self.applier.forget(key)
        self.memories.pop(key, None)

    def now(self) -> str:
        """Return the time as Kubernetes writes it."""
        return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Vanished(Exception):
    """The TFModel is not there any more, though no watch has told."""


async def reconcile(key: Key, world: World) -> float | None:
    """Bring the cluster one step closer to the spec of the TFModel called ``key``; safe to repeat, safe to interrupt.

    Returns:
        Seconds until the next look, if nothing happens before; None: never.

    Raises:
        cluster.errors.ApiError: The API server could not be read or written; the pass is to be repeated with back-off.
    """
    body = world.store.model(key)
    if body is None or "deletionTimestamp" in body["metadata"]:
        world.forget(key)
        return None  # its children go with it, by their owner references
    try:
        desired = await _bring_about(body, key, world)
    except (spec.InvalidSpec, model_config.InvalidModelConfig) as error:
        return await _publish(body, _invalid(body, error, key, world), key, world)
    except Vanished:
        return 0.0
    again = await _report(desired, body, key, world)
    return min(again, desired.again_in_seconds or again)


async def _report(desired: Desired, body: Body, key: Key, world: World) -> float:
    """Have status say what is so; return the seconds until the next look."""
    seen = await _observe(desired, key, world)
    if world.agents.pending(key):
        return MOVING_SECONDS  # the first word of each agent brings us back
    memory, before = world.memory(key), body.get("status", {})
    if memory.judged is not None and memory.judged[0] == seen and memory.judged[1] is before:
        return _next_look(before)
    status = statuses.status(seen, before, service.endpoints(desired.model), world.now())
    if status == before:
        memory.judged = seen, before
    return await _publish(body, status, key, world)


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
    if _has_conditions(body) and world.applier.missing(plan.objects) and not await _exists(body, world):
        raise Vanished
    in_place, problem = await _apply(plan, key, world)
    if in_place and world.store.model(key) is body:
        edition = world.store.edition(key)  # what has changed meanwhile is what we changed
    pods = children.pods if plan.depends_on_pods else None
    memory.desired = Desired(model, plan.config_hash, plan.again_in_seconds, pods, problem)
    memory.edition = edition
    steady = STALLED_SECONDS if problem else STEADY_SECONDS
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


async def _exists(body: Body, world: World) -> bool:
    """Tell whether a TFModel is still there, when something takes its children away.

    A deletion that fell into a gap of the watch is never told; children of such a ghost would be collected and made for ever.
    """
    metadata = body["metadata"]
    try:
        found = await world.client.get(kinds.MODEL, metadata["namespace"], metadata["name"])
    except errors.NotFound:
        world.store.remove(kinds.MODEL.name, body)
        return False
    if world.store.model((metadata["namespace"], metadata["name"])) is not None:  # else the watch has told of it meanwhile
        world.store.upsert(kinds.MODEL.name, found)
    return bool(found["metadata"]["uid"] == metadata["uid"]) and "deletionTimestamp" not in found["metadata"]


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


async def _publish(body: Body, status: dict[str, Any], key: Key, world: World) -> float:
    """Write status if it differs and a write is due; return the seconds until the next look."""
    before, memory = body.get("status", {}), world.memory(key)
    if status == before:
        return _next_look(status)
    due = memory.written + _patience(before, status, busy=world.busy()) - time.monotonic()
    if due > 0:
        return due
    await _write_status(body, status, world)
    memory.written = time.monotonic()
    return _next_look(status)


async def _write_status(body: Body, status: dict[str, Any], world: World) -> None:
    metadata = {key: body["metadata"][key] for key in ("name", "namespace", "uid")}
    manifest = {"apiVersion": labels.API_VERSION, "kind": kinds.MODEL.name, "metadata": metadata, "status": status}
    try:
        written = await world.client.apply(manifest, subresource="status")
    except (errors.Conflict, errors.NotFound):
        await _exists(body, world)  # deleted, or deleted and created anew
        return
    world.store.upsert(kinds.MODEL.name, written, ours=True)
    _tell(body, status, world)


def _tell(body: Body, status: dict[str, Any], world: World) -> None:
    """Say what has changed, to the log and in Events."""
    before = body.get("status", {})
    ready = _ready(status)
    if (ready["status"], ready["reason"]) != (_ready(before).get("status"), _ready(before).get("reason")):
        log.info("Ready is %s", ready["status"], extra={"reason": ready["reason"], "detail": ready["message"]})
    for event in events.events(before, status):
        world.recorder.record(body, event.type, event.reason, event.message)


def _ready(status: dict[str, Any]) -> dict[str, Any]:
    return next((dict(c) for c in status.get("conditions", []) if c["type"] == conditions.Type.READY), {})


def _has_conditions(body: Body) -> bool:
    return bool(body.get("status", {}).get("conditions"))


def _patience(before: dict[str, Any], status: dict[str, Any], *, busy: bool) -> float:
    """Return how long after the last write a status may be written, in seconds.

    Args:
        busy: Others wait: half of what there is to tell now won't be worth telling in a moment.
    """
    was = _ready(before).get("status", "False")
    if _ready(status)["status"] != was or (_is_stalled(status) and not _is_stalled(before)):
        return 0.0
    return NARRATION_SECONDS if busy or _gist(status) == _gist(before) else NEWS_SECONDS


def _gist(status: dict[str, Any]) -> tuple[Any, ...]:
    said = {(c["type"], c["status"], c["reason"]) for c in status.get("conditions", [])}
    return said, status.get("observedGeneration"), status.get("promotedVersion")


def _is_stalled(status: dict[str, Any]) -> bool:
    return any(c["type"] == conditions.Type.STALLED for c in status.get("conditions", []))


def _next_look(status: dict[str, Any]) -> float:
    """Return the seconds until the next look: what moves is followed closely, what only somebody else can change is not."""
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    if found.get(conditions.Type.RECONCILING) == "True":
        return MOVING_SECONDS
    return STALLED_SECONDS if found.get(conditions.Type.STALLED) == "True" else STEADY_SECONDS
