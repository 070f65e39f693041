"""Which models a shared server takes in, of those that point to it.

Who is in stays in: a model that joins, or a limit that is lowered, takes nothing away from models that are served. Newcomers
are taken in by age. Equal inputs give equal answers, in whichever order the models come.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.plan import configmap, packing
from tfmodel_serving import model_config

ENTRY_BYTES, VERSION_BYTES, LABEL_BYTES = 600, 80, 110
"""What an entry, each of its versions, and each of its labels take apart from what they say, in both files together. There may
be a second entry, for a candidate on trial."""
CANDIDATES, MAX_VERSIONS = 2, 20
"""Versions that may come to those of the policy; versions allowed for where the policy has no number."""


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """Who is on a server, and who can't be.

    Args:
        members: By name of the TFModel.
        refused: Why not, by name of the TFModel.
        estimated_bytes: Memory of the members whose estimate is known.
        unknown: Names of the others.
    """

    members: Mapping[str, spec.TFModel]
    refused: Mapping[str, Finding]
    estimated_bytes: int = 0
    unknown: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class _Room:
    """A server as it fills."""

    server: spec.ModelServer
    members: dict[str, spec.TFModel] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    """TFModel by model name."""
    config_bytes: int = 0
    used_bytes: int = 0
    unknown: list[str] = dataclasses.field(default_factory=list)

    def add(self, model: spec.TFModel, memory: int | None) -> None:
        self.members[model.name] = model
        self.names[model.model_name] = model.name
        self.config_bytes += entry_bytes(model)
        self.used_bytes += memory or 0
        if memory is None:
            self.unknown.append(model.name)


def join(
    server: spec.ModelServer,
    models: Iterable[spec.TFModel],
    incumbents: Mapping[str, str],
    sizes: Mapping[str, int],
    keeping: Callable[[spec.TFModel], spec.TFModel] = lambda model: model,
) -> Joined:
    """Return who of ``models`` is on ``server``.

    Args:
        models: All that point to it.
        incumbents: UID by name of the TFModels that are in its published config (:func:`incumbents`).
        sizes: Bytes on disk of the largest version, by model name, as far as agents have seen it.
        keeping: Returns a model that is in with what is published of it: it keeps that where it has come to ask for too much.
    """
    room, refused = _Room(server), {}
    ordered = sorted(models, key=lambda model: (incumbents.get(model.name) != model.uid, model.created, model.name))
    for model in ordered:
        memory = packing.estimate(model.memory_bytes, sizes.get(model.model_name))
        checks = _ALWAYS if incumbents.get(model.name) == model.uid else (*_ALWAYS, *_NEWCOMERS)
        if found := next((found for check in checks if (found := check(room, model, memory))), None):
            refused[model.name] = found
            if checks is _ALWAYS and found.reason is Reason.CONFIG_TOO_LARGE:
                room.add(keeping(model), memory)
        else:
            room.add(model, memory)
    members = dict(sorted(room.members.items()))
    return Joined(members, refused, room.used_bytes, tuple(sorted(room.unknown)))


def incumbents(live: Mapping[str, Any] | None) -> dict[str, str]:
    """Return UID by name of the TFModels in a published ConfigMap; none if it can't be told."""
    try:
        found = json.loads(((live or {}).get("metadata", {}).get("annotations") or {}).get(labels.MEMBERS, "{}"))
    except ValueError:
        return {}
    return {str(name): str(uid) for name, uid in found.items()} if isinstance(found, dict) else {}


def record(members: Mapping[str, spec.TFModel]) -> str:
    """Return the annotation that :func:`incumbents` reads."""
    return json.dumps({name: model.uid for name, model in members.items()}, sort_keys=True)


def entry_bytes(model: spec.TFModel) -> int:
    """Return what a model takes in `models.config` and `agent.json` at most; to write both, and be exact, takes long."""
    texts = (model.model_name, model.model_name, configmap.base_path(model), str(model.source))
    one = ENTRY_BYTES + sum(len(text) for text in texts) + VERSION_BYTES * (_versions(model.version_policy) + CANDIDATES)
    return 2 * one + sum(LABEL_BYTES + len(label) for label in model.version_labels)


def _versions(policy: model_config.VersionPolicy) -> int:
    match policy:
        case model_config.Specific(versions):
            return len(versions)
        case model_config.Latest(count):
            return count
    return MAX_VERSIONS


def _name_is_free(room: _Room, model: spec.TFModel, _: int | None) -> Finding | None:
    if (other := room.names.get(model.model_name)) is None:
        return None
    return _refusal(
        Reason.NAME_CONFLICT,
        f"model {model.model_name} is served on TFModelServer {room.server.name} for TFModel {other} already: choose another "
        "spec.modelName, which needs another TFModel, or another server",
    )


def _config_fits(room: _Room, model: spec.TFModel, _: int | None) -> Finding | None:
    wanted = entry_bytes(model)
    if room.config_bytes + wanted <= model_config.MAX_BYTES:
        return None
    return _refusal(
        Reason.CONFIG_TOO_LARGE,
        f"the config of TFModelServer {room.server.name} has {room.config_bytes} bytes with {len(room.members)} models; with "
        f"this one, {room.config_bytes} + {wanted} = {room.config_bytes + wanted}, and it may have {model_config.MAX_BYTES}: "
        "choose another server",
    )


def _is_not_full(room: _Room, model: spec.TFModel, _: int | None) -> Finding | None:
    held, limit = len(room.members), room.server.max_models
    if held < limit:
        return None
    return _refusal(
        Reason.SERVER_FULL,
        f"TFModelServer {room.server.name} holds {held} models and may hold {limit}: raise its spec.maxModels, or choose another",
    )


def _memory_suffices(room: _Room, model: spec.TFModel, memory: int | None) -> Finding | None:
    budget = room.server.memory_budget_bytes
    if budget is None or memory is None or room.used_bytes + memory <= budget:
        return None
    show = packing.show
    return _refusal(
        Reason.SERVER_FULL,
        f"TFModelServer {room.server.name} has {show(budget)} for models, of which {show(room.used_bytes)} are in use; this one "
        f"needs {show(memory)}, and {show(room.used_bytes)} + {show(memory)} is {show(room.used_bytes + memory - budget)} over: "
        "raise its spec.memoryBudget, or choose another",
    )


_Check = Callable[[_Room, spec.TFModel, int | None], Finding | None]
_ALWAYS: Sequence[_Check] = (_name_is_free, _config_fits)
_NEWCOMERS: Sequence[_Check] = (_is_not_full, _memory_suffices)


def _refusal(reason: Reason, message: str) -> Finding:
    return Finding("False", reason, message)
