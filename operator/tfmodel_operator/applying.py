"""Effects that passes over TFModels and TFModelServers have in common."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfmodel_operator.api import facts, kinds, labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.world import World

log = logging.getLogger(__name__)


async def apply(
    objects: Sequence[Mapping[str, Any]],
    key: Key,
    world: World,
    *,
    kept: Collection[tuple[str, str]] = (),
    prune: bool = True,
) -> tuple[bool, Finding | None]:
    """Apply the objects of one key; return whether they are in place, and why they can't be, if that is for somebody to mend.

    Args:
        kept: Kind and name of further ones that stay as they are.
        prune: Delete what else is ours.
    """
    try:
        return await world.applier.apply(objects, key, kept, prune=prune), None
    except errors.Rejected as error:
        return False, Finding("False", Reason.REJECTED_BY_API_SERVER, str(error))
    except errors.ForeignObject as error:
        return False, Finding("False", Reason.NAME_CONFLICT, str(error))
    except errors.Leftover as error:
        return False, Finding("False", Reason.WAITING_FOR_PODS, str(error))


async def mark(
    pods: Sequence[Body],
    config_hash: str,
    members: Mapping[str, spec.TFModel],
    seen: Mapping[str, Sequence[facts.PodFacts]],
    key: Key,
    world: World,
) -> None:
    """Label the pods of a shared server with the models that they answer for, and have the kubelet bring them the config.

    One write for a pod whose marks are to be others; none for one whose agent says nothing, because then nothing is known.

    Args:
        seen: What is known of the pods, by name of the TFModel.
    """
    by_pod = {pod["metadata"]["name"]: _Marks(pod) for pod in pods}
    reports = {pod["metadata"]["name"]: world.agents.report(pod["metadata"]["uid"]) for pod in pods}
    for name, model in members.items():
        serves = world.memory(key).configs_with(name, config_hash)
        for one in seen[name]:
            if one.name not in by_pod:
                continue  # gone since
            state = reports[one.name].state
            by_pod[one.name].judge(name, model.model_name, one, is_this=state is not None and state.config_hash in serves)
    for pod in pods:
        marks, report = by_pod[pod["metadata"]["name"]], reports[pod["metadata"]["name"]]
        if report.state is None:
            continue
        annotation = marks.annotation if report.state.config_hash == config_hash else config_hash
        if (marks.labels, marks.annotation) != (marks.wanted, annotation):
            await touch(pod, annotation, marks.wanted, world)


class _Marks:
    """What a pod has of ours beside its template, and what it should have."""

    def __init__(self, pod: Body) -> None:
        metadata = pod["metadata"]
        self.annotation = metadata.get("annotations", {}).get(labels.CONFIG_HASH, "")
        self.labels = {key: value for key, value in metadata.get("labels", {}).items() if key.startswith(labels.MODEL_PREFIX)}
        self.wanted: dict[str, str] = {}

    def judge(self, name: str, model_name: str, pod: facts.PodFacts, *, is_this: bool) -> None:
        """Label the pod if it answers for a model.

        Args:
            is_this: The config that its agent has means this TFModel by the name, not one that had it before.
        """
        label, agent = labels.of_model(name), pod.agent
        told = agent.model(model_name) if agent is not None else None
        if told is None:  # a report can be too short for all
            answers = label in self.labels and agent is not None and bool(agent.left_out)
        else:
            answers = told.available and (label in self.labels or is_this)
        if answers:
            self.wanted[label] = labels.ANSWERS


async def touch(pod: Body, config_hash: str, marks: Mapping[str, str], world: World) -> None:
    """Write our annotation and our labels to a pod: all of them, because what is left out would be taken away."""
    metadata = pod["metadata"]
    # The UID makes it a conflict, not a new pod, when the pod has gone meanwhile.
    identity = {key: metadata[key] for key in ("name", "namespace", "uid")}
    annotations = {"annotations": {labels.CONFIG_HASH: config_hash}} if config_hash else {}
    given = {"labels": dict(marks)} if marks else {}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {**identity, **annotations, **given}}
    try:
        found = await world.client.apply(manifest)
        if others := {key for key in found["metadata"].get("labels", {}) if key.startswith(labels.MODEL_PREFIX)} - marks.keys():
            # Somebody has set these by hand, and apply leaves them; a Service would send clients here all the same.
            found = await world.client.merge(manifest, {"metadata": {"uid": metadata["uid"], "labels": dict.fromkeys(others)}})
        world.store.upsert(kinds.POD.name, found, ours=True)
    except (errors.Conflict, errors.NotFound, errors.Rejected) as error:
        log.info("Can't mark a pod: its config will come by itself, later", extra={"pod": metadata["name"], "error": str(error)})
