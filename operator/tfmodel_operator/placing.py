"""Which shared server a model is to be on: the one it names, or one that is chosen among those with its labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfmodel_operator.api import labels, quantities, spec
from tfmodel_operator.api.conditions import Finding, Reason
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
        return model.server_ref, None if there is not None else _not_found(f"there is no TFModelServer {model.server_ref}")
    servers = list(_servers(model.namespace, world))
    chosen = packing.pack(_selecting(model.namespace, world), [server for server, _ in servers])[model.name]
    if chosen.reason is packing.Reason.PLACED:
        return chosen.server, None
    return chosen_before(body), Finding("False", _REASONS[chosen.reason], chosen.message)


def chosen_before(body: Body) -> str:
    """Return the TFModelServer that was chosen for a model with a selector; ``""``: none."""
    server = (body.get("status") or {}).get("server") or {}
    return str(server.get("name", "")) if server.get("kind") == "Shared" else ""


def _not_found(message: str) -> Finding:
    return Finding("False", Reason.SERVER_NOT_FOUND, f"{message} in this namespace: create it, or correct spec.serverRef")


def _servers(namespace: str, world: World) -> Iterable[tuple[packing.Server, Body]]:
    """Yield the servers with the room that is left by the models that name theirs."""
    for body in world.store.shared_servers(namespace):
        try:
            server = spec.parse_server(body)
        except spec.InvalidSpec:
            continue  # its own status says so
        key = (namespace, server.server_label)
        named = [one for one in map(world.store.model, world.store.pointing(key)) if one and "serverRef" in one["spec"]]
        budget = server.memory_budget_bytes
        if budget is not None:
            budget -= sum(_memory(one, world) or 0 for one in named)
        yield packing.Server(server.name, server.labels, budget, server.max_models - len(named)), body


def _selecting(namespace: str, world: World) -> list[packing.Model]:
    """Return the models of a namespace that choose among servers."""
    found = []
    for key in world.store.selecting(namespace):
        if (body := world.store.model(key)) is not None:
            selector = body["spec"]["serverSelector"].get("matchLabels", {})
            found.append(packing.Model(key[1], selector, _memory(body, world), chosen_before(body)))
    return found


def _memory(body: Body, world: World) -> int | None:
    """Return what a model is taken to need; None: not known."""
    declared: Any = body["spec"].get("memory")
    name = chosen_before(body) or (body["spec"].get("serverRef") or {}).get("name", "")
    shared = world.shared.get((body["metadata"]["namespace"], labels.shared(name)))
    size = None
    if declared is None and shared is not None:
        size = observed.sizes(shared.pods.get(body["metadata"]["name"], ())).get(
            body["spec"].get("modelName", body["metadata"]["name"])
        )
    return packing.estimate(int(quantities.parse(declared)) if declared is not None else None, size)
