"""How a step is written down: its config, labels, template and record, from a situation."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from tfmodel_operator.api.rollout_spec import Strategy
from tfmodel_operator.plan.rollout import gates, wanted
from tfmodel_operator.plan.rollout.config import Config, specific
from tfmodel_operator.plan.rollout.record import Candidate, Good, Record
from tfmodel_operator.plan.rollout.situation import Situation
from tfmodel_operator.plan.rollout.step import Phase, Pods, Step, Template
from tfmodel_serving import model_config


def config(
    s: Situation,
    versions: frozenset[int],
    *,
    alone: int | None = None,
    labels: Mapping[str, int] | None = None,
    immutable: bool | None = None,
) -> Config:
    """Return the config with ``versions`` under the model's name.

    Without any, the private name is there to have the agents look at the volume.

    Args:
        alone: The candidate under the private name; None: what is held there, if anything.
        labels: Where labels are to be; None: as near to the user's wish as they may be now.
        immutable: It is for a ConfigMap of its own; None: as now. Then it names what is served and nothing else: with another
            watched version it would be another ConfigMap, and all pods would be replaced for it.
    """
    own = s.immutable if immutable is None else immutable
    private = {alone} if alone is not None else s.record.held & _held(s)
    candidate: model_config.VersionPolicy | None = specific(private)
    if not versions and candidate is None:
        candidate = model_config.Latest(1)
    return Config(
        served=specific(versions),
        labels=_labels(s, versions) if labels is None else labels,
        candidate=candidate,
        compare_with=max(s.promoted) if alone is not None and gates.compares(s) else 0,
        watched=() if own else _watched(s, versions | private),
    )


def _held(s: Situation) -> frozenset[int]:
    """Return the versions that the user still asks for, or did when they were tried: only those stay for inspection."""
    return wanted.chosen(s.desired.policy, s.record.held | s.promoted)


def _watched(s: Situation, served: Collection[int]) -> tuple[int, ...]:
    """Return the versions that agents are asked to tell of: those kept out, and those asked for that they don't tell of anyhow.

    Who is watched stays so: else it would be told of, watched no more, told of no more, and so on.
    """
    watched = {one.version for one in s.record.quarantine}
    if isinstance(s.desired.policy, model_config.Specific):
        asked = set(s.desired.policy.versions) - watched - set(served)
        watched |= {version for version in asked if version in s.published.watched or not _is_told_of(s, version)}
    return tuple(sorted(watched - set(served)))


def _is_told_of(s: Situation, version: int) -> bool:
    verdicts = s.fleet.verdicts(version)
    return bool(verdicts) and None not in verdicts.values()


def _labels(s: Situation, versions: frozenset[int]) -> dict[str, int]:
    """Return where the labels go: a label moves only to a promoted version that all ready pods have AVAILABLE.

    It moves in all pods or in none: not while some that clients are sent to can't see it move. One that keeps all pods out,
    because its version can't be had, is taken away: what else they have is better than nothing.
    """
    apart = any(pod.ready and pod.apart for pod in s.facts.pods)
    before = {label: version for label, version in s.before.items() if version in versions and not s.fleet.misses(version)}
    if (s.rollout.paused or apart) and s.facts.published is not None:
        return before
    movable = {version for version in s.promoted & versions if not s.fleet.lacking(s.fleet.model, {version})}
    return wanted.labels(s.wish(s.promoted), before, versions, movable)


def keep(s: Situation, made: Config, candidate: Candidate | None = None) -> Record:
    """Return the record that goes with ``made``, a config that is changed in place."""
    good = Good(s.promoted, made.labels, s.immutable) if s.promoted else None
    return dataclasses.replace(s.record, good=good, candidate=candidate)


def step(s: Situation, made: Config, kept: Record, phase: Phase, reason: str) -> Step:
    """Return a step in which pods stay as they are, unless spec's template has changed and nothing is in motion."""
    live = s.motion is not None and not s.motion.alone
    return Step(
        config=made,
        template=template(s, live=live),
        record=kept,
        phase=phase,
        reason=reason,
        promoted=max(s.promoted, default=None),
        candidate=s.candidate if s.candidate not in s.promoted else None,
    )


def template(s: Situation, *, immutable: bool | None = None, live: bool = False) -> Template:
    """Return the template for a step.

    Args:
        immutable: Whether it mounts a ConfigMap of its own; None: as now.
        live: Spec's template, if it has changed, waits.
    """
    own = s.immutable if immutable is None else immutable
    waits = (live or s.rollout.paused) and s.facts.server is not None
    return Template(Pods.LIVE if waits else Pods.DESIRED, own, recreates(s) if own or s.immutable else False)


def recreates(s: Situation) -> bool:
    """Tell whether pods that get another version are stopped before new ones start."""
    auto = s.rollout.strategy is Strategy.AUTO and s.desired.memory.recreate
    return auto or s.rollout.strategy is Strategy.RECREATE
