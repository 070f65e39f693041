"""The one write of status at the end of a pass, and the news it is worth."""

from __future__ import annotations

import logging
import time
from typing import Any

from tfmodel_operator.api import labels
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors, existence, feed
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.plan.progress import Progress
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_operator.status import events, pace
from tfmodel_operator.world import World

log = logging.getLogger(__name__)


async def publish(body: Body, status: dict[str, Any], key: Key, world: World, *, gather_seconds: float = 0.0) -> float:
    """Write status if it differs and a write is due; return the seconds until the next look.

    Args:
        gather_seconds: More news are about to come: how long after the first of them to wait, unless Ready changes.
    """
    before, memory = body.get("status", {}), world.memory(key)
    if status == before or memory.kept == (status, before):
        memory.news_since = None
        return pace.next_look(status)
    now, patience = time.monotonic(), pace.patience(before, status, busy=world.busy())
    memory.news_since = now if memory.news_since is None else memory.news_since
    due = memory.written + patience - now
    if patience:
        # One version after another may be told of: what clients get meanwhile is not kept back until the last of them. A new
        # TFModel has nothing to keep back, and is mostly Ready a moment after its pods were told what it is pinned to.
        told = min(memory.told, memory.news_since) if "conditions" in before else memory.told
        due = max(due, memory.news_since + gather_seconds - now, told + pace.ECHO_SECONDS - now)
    if due > 0:
        return due
    memory.news_since = None
    kept = await _write_status(body, status, key, world)
    memory.written = time.monotonic()
    memory.kept = None if kept in (None, status) else (status, kept)
    if memory.kept:
        log.warning("The API server keeps another status than was written: does the CRD have this operator's version?")
    return pace.next_look(status)


def tell_step(before: Progress | None, after: Progress, **about: object) -> None:
    """Say to the log that a rollout has come to another phase, or another config is published.

    Args:
        before: What was decided last; None: nothing is remembered, and only what is in motion is worth a line.
        about: Further fields.
    """
    step = after.step
    was = None if before is None else (before.step.phase, before.step.config)
    if was == (step.phase, step.config) or (was is None and step.phase is Phase.COMPLETE):
        return
    config = None if step.config is None else str(step.config)
    fields = {"step": step.reason, "promoted": step.promoted, "candidate": step.candidate, "config": config}
    log.info("Rollout is %s", step.phase, extra={**fields, **about})


async def _write_status(body: Body, status: dict[str, Any], key: Key, world: World) -> Any:
    """Write status; return what the API server made of it, or None: there is no such TFModel any more."""
    metadata = {key: body["metadata"][key] for key in ("name", "namespace", "uid")}
    manifest = {"apiVersion": labels.API_VERSION, "kind": body["kind"], "metadata": metadata, "status": status}
    try:
        written = await world.client.apply(manifest, subresource="status")
    except (errors.Conflict, errors.NotFound):
        await existence.exists(body, world.client, world.store)  # deleted, or deleted and created anew
        return None
    feed.wrote(world.store, world.tell, key, written)
    _tell(body, status, world)
    return written.get("status")


def _tell(body: Body, status: dict[str, Any], world: World) -> None:
    """Say what has changed, to the log and in Events."""
    before = body.get("status", {})
    ready = pace.ready(status)
    if (ready["status"], ready["reason"]) != (pace.ready(before).get("status"), pace.ready(before).get("reason")):
        log.info("Ready is %s", ready["status"], extra={"reason": ready["reason"], "detail": ready["message"]})
    for event in events.events(before, status):
        world.recorder.record(body, event.type, event.reason, event.message)
