"""What the pods of a shared server say of each of its models alone: what one does is no news to its neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from tfmodel_operator.api import facts, spec
from tfmodel_serving import model_config
from tfmodel_serving.state import AgentState, ModelState

Knows = Callable[[str, str], bool]
"""Tells whether the config that a hash names has of the TFModel of this name what the published one has."""


def by_model(
    pods: Iterable[facts.PodFacts], members: Mapping[str, spec.TFModel], published: str, knows: Knows
) -> dict[str, tuple[facts.PodFacts, ...]]:
    """Return the pods by name of the TFModel, each with what its agent says of that one alone.

    Args:
        published: The hash of the published config. An agent that has an older one is as good for a model that has the same
            in it: each join and each step of others changes the hash.
    """
    sliced: dict[str, list[facts.PodFacts]] = {name: [] for name in members}
    for pod in pods:
        told = models_of(pod.agent)
        for name, model in members.items():
            names = model_config.names_of(model.model_name)
            theirs = tuple(told[one] for one in names if one in told)
            sliced[name].append(_slice(pod, name, theirs, published, knows))
    return {name: tuple(found) for name, found in sliced.items()}


def models_of(agent: AgentState | None) -> dict[str, ModelState]:
    """Return what an agent says of each model, by model name."""
    return {model.name: model for model in agent.models} if agent is not None else {}


def sizes(pods: Iterable[facts.PodFacts]) -> dict[str, int]:
    """Return the bytes on disk of the largest version of each model, by model name, as far as an agent has seen it."""
    found: dict[str, int] = {}
    for pod in pods:
        for name, model in models_of(pod.agent).items():
            found[name] = max([found.get(name, 0), *(version.size_bytes for version in model.versions)])
    return {name: size for name, size in found.items() if size}


def disk_bytes(pods: Iterable[facts.PodFacts]) -> int:
    """Return the size of the files of all versions in use, each counted once."""
    found: dict[tuple[str, int], int] = {}
    for pod in pods:
        for name, model in models_of(pod.agent).items():
            found |= {(name, one.version): one.size_bytes for one in model.versions if one.wanted or one.state == "AVAILABLE"}
    return sum(found.values())


def answers(pods: Iterable[facts.PodFacts], model_name: str) -> tuple[bool, bool]:
    """Return whether any ready pod, and whether each of at least one, answers for a model."""
    ready = [bool(model and model.available) for pod in pods if pod.ready for model in [_model(pod, model_name)]]
    return any(ready), bool(ready) and all(ready)


def _model(pod: facts.PodFacts, model_name: str) -> ModelState | None:
    return pod.agent.model(model_name) if pod.agent is not None else None


def _slice(pod: facts.PodFacts, name: str, models: tuple[ModelState, ...], published: str, knows: Knows) -> facts.PodFacts:
    """Return a pod as one model sees it: its template, and what a load has done to the server, are not its own."""
    pod = dataclasses.replace(pod, current=True, crash=pod.crash if _is_unexplained(pod) else "")
    agent = pod.agent
    if agent is None:
        return pod
    said = AgentState(
        pod_uid=agent.pod_uid,
        config_hash=published if knows(agent.config_hash, name) else agent.config_hash,
        ready=agent.ready,
        settled=all(_is_settled(model) for model in models),
        step="",
        config_message=agent.config_message,
        server_message=agent.server_message,
        suspect=agent.suspect,
        left_out="" if models else agent.left_out,
        models=models,
    )
    return dataclasses.replace(pod, agent=said)


def _is_unexplained(pod: facts.PodFacts) -> bool:
    """Tell whether the server has ended more often than by what was being loaded: once with others, and each time alone."""
    if pod.agent is None:
        return False
    found = [version.crashes for model in pod.agent.models for version in model.versions if version.crashes]
    return pod.restarts > sum(found) + len(found)


def _is_settled(model: ModelState) -> bool:
    """Tell whether the agent has nothing left to do for a model, as far as its versions tell."""
    return all(one.failed or one.state == "AVAILABLE" if one.wanted else one.state in {"", "END"} for one in model.versions)
