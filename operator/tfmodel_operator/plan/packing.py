"""Which server a model goes to that names none itself, but selects among servers by their labels.

First-fit decreasing over the servers in the order of their names, so that the last ones stay empty and can be scaled away.
Sticky: a model that has a place keeps it while that server exists, matches and is within its budget; the places of others
are no reason to move. Hence the order: what has to move because its server holds too much, then what has lost its server,
then what is new. Each only takes room, so that doing it again changes nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping, Sequence

DISK_FACTOR = 1.2
"""Memory per byte on disk where none is declared: TensorFlow Serving's own estimate of a SavedModel's RAM
(servables/tensorflow/util.cc, ``kResourceEstimateRAMMultiplier``). What a request or a second version of the model takes on top
is not in it: declare the memory where that matters."""
MAX_SERVERS_TOLD = 5
"""Servers whose arithmetic a message shows."""


class Reason(enum.StrEnum):
    """What became of a model; all but the first are waited out, and end by themselves when the servers change."""

    PLACED = "Placed"
    SERVER_FULL = "ServerFull"
    SERVER_NOT_FOUND = "ServerNotFound"
    MEMORY_UNKNOWN = "MemoryUnknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server that models may choose.

    Args:
        budget_bytes: For all of its models together; None: not limited.
        max_models: None: not limited.
    """

    name: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    budget_bytes: int | None = None
    max_models: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """A model that chooses among servers.

    Args:
        selector: Labels the server must have; none match every server.
        memory_bytes: What it is estimated to take (:func:`estimate`); None: not known.
        current: Name of the server that it has its place on; ``""``: none yet.
    """

    name: str
    selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
    memory_bytes: int | None = None
    current: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Placement:
    """The server of one model, ``""`` for none, and why, in words with the arithmetic."""

    server: str
    reason: Reason
    message: str


def estimate(declared_bytes: int | None, measured_bytes: int | None) -> int | None:
    """Return what a model is taken to need in memory: what its owner says, else what its files weigh times :data:`DISK_FACTOR`.

    Args:
        measured_bytes: Of the files of its largest version, as an agent has seen them; 0 and None: not seen.
    """
    if declared_bytes is not None:
        return declared_bytes
    return math.ceil(measured_bytes * DISK_FACTOR) if measured_bytes else None


def pack(models: Iterable[Model], servers: Iterable[Server]) -> dict[str, Placement]:
    """Return the place of every model, by its name; the order of the arguments makes no difference."""
    found = {model.name: model for model in models}
    loads = {server.name: _Load(server) for server in sorted(servers, key=lambda server: server.name)}
    for model in found.values():
        if model.current in loads and _matches(model, loads[model.current].server):
            loads[model.current].add(model)
    came_from = _relieve(loads)
    placed = {name for load in loads.values() for name in load.models}
    homeless = [model for name, model in found.items() if name not in placed]
    for model in sorted(homeless, key=_largest_first):
        if (load := _first_fit(model, loads.values())) is not None:
            load.add(model)
            came_from[model.name] = model.current
    places = {name: load for load in loads.values() for name in load.models}
    return {name: _tell(found[name], places.get(name), came_from.get(name, ""), loads.values()) for name in sorted(found)}


@dataclasses.dataclass(slots=True)
class _Load:
    """One server and the models that have their place on it so far."""

    server: Server
    models: dict[str, Model] = dataclasses.field(default_factory=dict)
    used_bytes: int = 0
    unknown: set[str] = dataclasses.field(default_factory=set)
    """The models whose memory isn't known: how much room is left isn't, either."""

    def add(self, model: Model) -> None:
        self.models[model.name] = model
        self.used_bytes += model.memory_bytes or 0
        if model.memory_bytes is None:
            self.unknown.add(model.name)

    def remove(self, model: Model) -> None:
        del self.models[model.name]
        self.used_bytes -= model.memory_bytes or 0
        self.unknown.discard(model.name)

    @property
    def excess_bytes(self) -> int:
        budget = self.server.budget_bytes
        return 0 if budget is None else max(0, self.used_bytes - budget)

    @property
    def holds_too_much(self) -> bool:
        limit = self.server.max_models
        return self.excess_bytes > 0 or (limit is not None and len(self.models) > limit)

    def obstacle(self, model: Model) -> str:
        """Say why ``model`` can't be added; ``""`` if it can."""
        server = self.server
        if server.max_models is not None and len(self.models) >= server.max_models:
            return f"{server.name} holds {len(self.models)} of at most {server.max_models} models"
        if server.budget_bytes is None:
            return ""
        if model.memory_bytes is None:
            return f"{server.name} has a budget, and the size is not known"
        if self.unknown:
            return f"{server.name} waits for the size of {min(self.unknown)}, which is not known yet"
        free = server.budget_bytes - self.used_bytes
        if model.memory_bytes <= free:
            return ""
        room = f"{show(free)} free" if free >= 0 else f"{show(-free)} over"
        return f"{server.name} has {show(server.budget_bytes)} - {show(self.used_bytes)} in use = {room}"


def _relieve(loads: Mapping[str, _Load]) -> dict[str, str]:
    """Move what can move off the servers that hold too much; return the former server of each model that did.

    It goes on until nothing can move: a server that is relieved has room again for what another one has too much of.
    """
    came_from: dict[str, str] = {}
    while moved := next((move for load in loads.values() if load.holds_too_much and (move := _escape(load, loads))), None):
        model, before, after = moved
        before.remove(model)
        after.add(model)
        came_from.setdefault(model.name, before.server.name)
    return came_from


def _escape(load: _Load, loads: Mapping[str, _Load]) -> tuple[Model, _Load, _Load] | None:
    """Return the best model to move off ``load``, and where to; None if none of them fits elsewhere."""
    excess = load.excess_bytes
    helping = [model for model in load.models.values() if model.memory_bytes or not excess]
    others = [other for other in loads.values() if other is not load]
    for model in sorted(helping, key=lambda model: _least_that_helps(model, excess)):
        if (place := _first_fit(model, others)) is not None:
            return model, load, place
    return None


def _least_that_helps(model: Model, excess: int) -> tuple[bool, int, str]:
    """Order models: the smallest one that is enough to move; where none is, the largest."""
    memory = model.memory_bytes or 0
    return (memory < excess, memory if memory >= excess else -memory, model.name)


def _first_fit(model: Model, loads: Iterable[_Load]) -> _Load | None:
    return next((load for load in loads if _matches(model, load.server) and not load.obstacle(model)), None)


def _largest_first(model: Model) -> tuple[bool, int, str]:
    """Order models that need a place: those that had one before the new ones."""
    return (not model.current, -(model.memory_bytes or 0), model.name)


def _matches(model: Model, server: Server) -> bool:
    return all(server.labels.get(label) == value for label, value in model.selector.items())


def _tell(model: Model, load: _Load | None, came_from: str, loads: Iterable[_Load]) -> Placement:
    matching = [other for other in loads if _matches(model, other.server)]
    if load is not None:
        message = _tell_place(model, load, came_from, [other for other in matching if other is not load])
        return Placement(load.server.name, Reason.PLACED, message)
    if not matching:
        return Placement("", Reason.SERVER_NOT_FOUND, f"no server has the labels {_show_labels(model.selector)}")
    if model.memory_bytes is None:
        message = "its size is not known before some server has its volume, and all servers have a budget: declare spec.memory"
        return Placement("", Reason.MEMORY_UNKNOWN, message)
    return Placement("", Reason.SERVER_FULL, f"it needs {show(model.memory_bytes)}: {_show_obstacles(model, matching)}")


def _tell_place(model: Model, load: _Load, came_from: str, others: Sequence[_Load]) -> str:
    """Say where a model is; as long as all is well not a word about its neighbours, who come and go."""
    name = load.server.name
    if load.holds_too_much:
        elsewhere = _show_obstacles(model, others) if others else "no other server matches"
        return f"stays on {name}, which holds too much: {_show_use(load)}; it can't move: {elsewhere}"
    return f"on {name}, before on {came_from}" if came_from else f"on {name}"


def _show_use(load: _Load) -> str:
    limit = load.server.max_models
    models = f"models: {len(load.models)}" if limit is None else f"models: {len(load.models)} of {limit}"
    budget = load.server.budget_bytes
    return f"{models}, in use: {show(load.used_bytes)}{'' if budget is None else f' of {show(budget)}'}"


def _show_obstacles(model: Model, loads: Sequence[_Load]) -> str:
    told = [load.obstacle(model) or f"{load.server.name} has room" for load in loads[:MAX_SERVERS_TOLD]]
    return "; ".join([*told, *([f"and {len(loads) - len(told)} more servers"] if len(loads) > len(told) else [])])


def _show_labels(selector: Mapping[str, str]) -> str:
    return ", ".join(f"{label}={value}" for label, value in sorted(selector.items())) or "{}"


def show(size: int) -> str:
    """Return a number of bytes as people write it, with enough digits to follow the arithmetic: ``1.25 GiB``."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size} bytes"
