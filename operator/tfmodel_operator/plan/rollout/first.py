"""Nothing is promoted yet, or nobody knows what is."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api.rollout_spec import Approval
from tfmodel_operator.plan.rollout import draft, rest, words
from tfmodel_operator.plan.rollout.record import Good, Record
from tfmodel_operator.plan.rollout.situation import Situation, hopeless
from tfmodel_operator.plan.rollout.step import Phase, Step
from tfmodel_serving import model_config


def first(s: Situation) -> Step | None:
    """Nothing but verification is asked of a first version: the agents choose by the user's policy, and that is pinned.

    Where more is asked, the first version is a candidate as any other, and nothing serves before it has passed.
    """
    gated = s.rollout.approval is Approval.MANUAL or s.rollout.paused
    if s.promoted or not (s.known or (not gated and _may_choose_anew(s))):
        return None
    chooses = s.published.served is not None and not s.published.versions
    if gated and not chooses:
        return None
    serving = rest.chosen(s, s.fleet.serving()) or (s.fleet.serving() if gated else frozenset())
    if chooses and serving and s.fleet.at_rest():
        return _pin(s, serving)
    policy = s.published.served if gated else s.desired.policy  # a gate that is set up now is for what comes next
    # No labels yet: a pod is ready when it has those it is to have, and some of these versions may never load.
    made = dataclasses.replace(draft.config(s, _named(policy)), served=policy, labels={}, candidate=None)
    started = draft.step(s, made, Record(quarantine=s.record.quarantine), Phase.STARTING, rest.nothing_yet(s))
    return dataclasses.replace(started, candidate=max(s.fleet.answering(), default=s.candidate))


def unknown(s: Situation) -> Step | None:
    """Nobody knows what is promoted: what is published stays until the pods say what they serve."""
    if s.known:
        return None
    published = s.facts.published
    said = s.fleet.lacking(s.fleet.model, s.published.versions) if published else s.fleet.moving()
    there = f"; {words.names(s.published.versions)} published" if published else ""
    reason = f"waiting for the pods to say what they serve: {said}{there}"
    stays = published.config if published else None
    return Step(stays, draft.template(s, live=True), s.record, Phase.WAITING, reason)


def _pin(s: Situation, serving: frozenset[int]) -> Step:
    pinned = dataclasses.replace(s, good=Good(serving))
    made = draft.config(pinned, serving)
    reason = f"publish {made}: {words.names(serving)} AVAILABLE on {words.all_ready(s)}"
    return draft.step(pinned, made, draft.keep(pinned, made), Phase.STARTING, reason)


def _named(policy: model_config.VersionPolicy | None) -> frozenset[int]:
    return frozenset(policy.versions) if isinstance(policy, model_config.Specific) else frozenset()


def _may_choose_anew(s: Situation) -> bool:
    """Tell whether the agents may choose although it isn't known what is promoted: nothing that is named can be had."""
    if s.facts.published is None:
        return not s.fleet.serves()
    return not s.fleet.silent and hopeless(s.published.versions, s.fleet)
