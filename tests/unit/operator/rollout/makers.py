"""Facts with defaults, so that a test names only what it is about."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfmodel_operator.api.rollout_spec import Rollout, Strategy
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import facts, planner, record
from tfmodel_operator.plan.rollout.record import Candidate, Good, Record
from tfmodel_serving import model_config, state
from tfmodel_serving.model_config import Latest

NOW = 1_800_000_000.0
MODEL = "half"
PRIVATE = model_config.candidate_name(MODEL)
READY = {1: "AVAILABLE", 2: ""}
BOTH = {1: "AVAILABLE", 2: "AVAILABLE"}


def desired(policy: model_config.VersionPolicy | None = None, **given: Any) -> facts.Desired:
    rollout = {name: given.pop(name) for name in [field.name for field in dataclasses.fields(Rollout)] if name in given}
    return facts.Desired(MODEL, policy or Latest(1), rollout=Rollout(**{"strategy": Strategy.IN_PLACE, **rollout}), **given)


def version(number: int, said: str = "AVAILABLE", **given: Any) -> state.VersionState:
    """``said`` is the server's word, or why it isn't to be had: Missing, Incomplete, Rejected, failed, or ``""``."""
    if said == "failed":
        return state.VersionState(number, "Verified", "END", message=f"{state.LOAD_FAILED}DATA_LOSS: unsound", **given)
    if said in {"Missing", "Incomplete", "Rejected"}:
        return state.VersionState(number, said, message="bad", **given)
    return state.VersionState(number, "Verified", said, **given)


def pod(
    name: str = "a", versions: dict[int, str] | None = None, alone: dict[int, str] | None = None, hash: str = "now", **given: Any
) -> facts.Pod:
    """A ready pod whose agent says this of the versions under the model's name and under the private one."""
    extra = given.pop("extra", {})
    models = [state.ModelState(MODEL, "", tuple(version(v, said, **extra.get(v, {})) for v, said in (versions or {}).items()))]
    if alone is not None:
        comparison = given.pop("comparison", None)
        models.append(state.ModelState(PRIVATE, "", tuple(version(v, said) for v, said in alone.items()), comparison=comparison))
    report = state.AgentState(name, hash, ready=True, settled=True, step="", models=tuple(models))
    return facts.Pod(name, **{"ready": True, "report": report, **given})


def silent(name: str = "b") -> facts.Pod:
    return facts.Pod(name, ready=True)


def seen(
    *pods: facts.Pod, versions: set[int] | None = None, alone: int | None = None, good: set[int] | None = None, **given: Any
) -> facts.Facts:
    """``versions`` are published under the model's name, ``good`` is what the record says is promoted; by default the same."""
    served = {1} if versions is None else versions
    good = served if good is None else good
    labels = {"stable": max(good)} if good else {}
    published = configs.Config(
        configs.specific(served), labels, configs.specific({alone} if alone else ()), given.pop("compare_with", 0)
    )
    kept = given.pop("kept", None) or record.Record(record.Good(frozenset(good), labels) if good else None)
    server = facts.Server(len(pods), "image-1", "image-1")
    values: dict[str, Any] = {"published": facts.Published(published, "now"), "record": record.to_text(kept), "server": server}
    return facts.Facts(pods=pods, **{**values, **given})


def plan(wish, found, now=NOW):
    step = planner.plan_rollout(wish, found, now)
    assert planner.plan_rollout(wish, found, now) == step
    return step


def kept(good=(1,), candidate=None, since=NOW, **given):
    moving = Candidate(candidate, since, since) if candidate else None
    return Record(Good(frozenset(good), {"stable": max(good)}), candidate=moving, **given)
