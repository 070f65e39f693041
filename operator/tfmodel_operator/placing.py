"""Which shared server a model is to be on: the one it names, or one that is chosen among those with its labels."""

from __future__ import annotations

from collections.abc import Iterator

from tfmodel_operator.api import labels, spec
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster import pointing
from tfmodel_operator.cluster.store import Body
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.plan import packing
from tfmodel_operator.world import World

_REASONS = {
    packing.Reason.SERVER_FULL: Reason.SERVER_FULL,
    packing.Reason.SERVER_NOT_FOUND: Reason.SERVER_NOT_FOUND,
    packing.Reason.MEMORY_UNKNOWN: Reason.INVALID_SPEC,
}


def place(model: spec.TFModel, body: Body, world: World) -> tuple[str, Finding | None]:
    """Return the name of the TFModelServer for ``model``, and why it can't be on it, or on any.

    A choice is kept in status, from where it is read again: it is given up only with reason (:mod:`plan.packing`).
    """
    if model.server_ref:
        there = world.store.owner((model.namespace, labels.shared(model.server_ref)))
        return model.server_ref, None if there is not None else _not_found(model.server_ref)
    placed = packing.pack(_selecting(model.namespace, world), _servers(model.namespace, world))[model.name]
    if placed.reason is packing.Reason.PLACED:
        return placed.server, None
    return pointing.chosen(body), Finding("False", _REASONS[placed.reason], placed.message)


def _not_found(name: str) -> Finding:
    message = f"there is no TFModelServer {name} in this namespace: create it, or correct spec.serverRef"
    return Finding("False", Reason.SERVER_NOT_FOUND, message)


def _servers(namespace: str, world: World) -> Iterator[packing.Server]:
    """Yield the servers with the room that is left by the models that name theirs."""
    for body in world.store.shared_servers(namespace):
        try:
            server = spec.parse_server(body)
        except spec.InvalidSpec:
            continue  # its own status says so
        named = [model for key in world.store.pointing((namespace, server.server_label)) if (model := _named(key, world))]
        budget = server.memory_budget_bytes
        if budget is not None:
            budget -= sum(_memory(model, server.name, world) or 0 for model in named)
        yield packing.Server(server.name, server.labels, budget, server.max_models - len(named))


def _named(key: Key, world: World) -> spec.TFModel | None:
    """Return a model that names its server; None: it doesn't, or can't be acted on."""
    model = _parsed(key, world)
    return model if model is not None and model.server_ref else None


def _parsed(key: Key, world: World) -> spec.TFModel | None:
    body = world.store.model(key)
    try:
        return spec.parse(body) if body is not None else None
    except spec.InvalidSpec:
        return None


def _selecting(namespace: str, world: World) -> Iterator[packing.Model]:
    """Yield the models of a namespace that choose among servers."""
    for key in world.store.selecting(namespace):
        if (model := _parsed(key, world)) is not None and model.server_selector is not None:
            current = pointing.chosen(world.store.model(key))
            yield packing.Model(model.name, model.server_selector, _memory(model, current, world), current)


def _memory(model: spec.TFModel, server: str, world: World) -> int | None:
    """Return what a model is taken to need; None: not known."""
    shared = world.shared.get((model.namespace, labels.shared(server)))
    seen = observed.sizes(shared.pods.get(model.name, ())) if shared is not None else {}
    return packing.estimate(model.memory_bytes, seen.get(model.model_name))
