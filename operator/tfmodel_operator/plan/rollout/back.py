"""The ways back: what failed, or is no longer wanted, is taken out, and what was promoted before serves on."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api.rollout_spec import OnFailure
from tfmodel_operator.plan.rollout import draft, failures, gates, quarantine, rest, wanted, words
from tfmodel_operator.plan.rollout.record import Bake, Good, Record
from tfmodel_operator.plan.rollout.situation import Motion, Situation
from tfmodel_operator.plan.rollout.step import Phase, Step


def leave(s: Situation) -> Step | None:
    """What is in motion failed, or is no longer wanted."""
    if s.motion is None:
        return None
    unwanted = _unwanted(s, s.motion)
    failure = None if unwanted else failures.of_motion(s)
    if not unwanted and failure is None:
        return None
    said = failure.message if failure else unwanted
    if waits := _kept_for_now(s, s.motion, said, "" if failure else _silent(s)):
        return waits
    record = s.record
    if failure is not None and (failure.certain or not s.motion.candidate.with_template):
        record = _quarantined(s, record, s.motion.version, failure)
    return _without(s, s.motion, record, f"version {s.motion.version} is taken out: {said}")


def take_back(s: Situation) -> Step | None:
    """What was promoted last fails while it can still be taken back."""
    failure, bake = failures.of_promotion(s), s.record.bake
    if failure is None or bake is None:
        return None
    bad = s.promoted - bake.previous.versions
    reason = f"{words.names(bad)} taken back: {failure.message}"
    if not s.immutable and (said := s.fleet.without(bake.previous.versions)):
        made = draft.config(s, s.loaded)
        return draft.step(s, made, draft.keep(s, made), Phase.ROLLING_BACK, f"{reason}; first, {said}")
    record = s.record
    for version in sorted(bad):
        record = _quarantined(s, record, version, failure)
    return _to_previous(s, bake, record, reason)


def _kept_for_now(s: Situation, motion: Motion, why: str, silent: str) -> Step | None:
    """What is to be taken out stays while a ready pod has it and is yet to load what is promoted; where that is lost, for good.

    So it is where the files of what is promoted went, or a server was restarted, while this was on its way in. A pod that can't
    load what is promoted isn't waited for: its agent keeps what it has.

    Args:
        why: It is to be taken out.
        silent: Which pod may be such a one; ``""``: none.
    """
    version, fleet = motion.version, s.fleet
    if s.immutable or motion.alone or not fleet.has(fleet.model, version) or not (fleet.without(s.promoted) or silent):
        return None
    is_lost = all(fleet.is_nowhere(one) or wanted.lost(one, fleet) for one in s.promoted)
    if waits := fleet.short_of(frozenset({version}) if is_lost else s.promoted) or silent:
        made = draft.config(s, s.loaded | {version})
        reason = f"version {version} is to be taken out: {why}; first, {waits}"
        return draft.step(s, made, draft.keep(s, made, motion.candidate), Phase.ROLLING_BACK, reason)
    if not is_lost:
        return None
    good, record = Good(frozenset({version}), {}, immutable=False), dataclasses.replace(s.record, bake=None)
    left = dataclasses.replace(s, good=good, motion=None, resting=frozenset(), record=record)
    made = draft.config(left, left.promoted)
    reason = f"publish {made}: {words.names(s.promoted)} can't be had any more, and version {version} serves"
    return draft.step(left, made, draft.keep(left, made), Phase.SETTLING, reason)


def _silent(s: Situation) -> str:
    return f"pod {s.fleet.silent[0].name} says nothing" if s.fleet.silent else ""


def _without(s: Situation, motion: Motion, record: Record, reason: str) -> Step:
    """Return the step to what is promoted, without what is in motion."""
    left = dataclasses.replace(s, record=record, motion=None)
    own_config = s.immutable and s.good is not None and s.good.immutable
    if s.immutable:
        made = draft.config(left, s.promoted, labels=s.before, immutable=own_config)
        kept = dataclasses.replace(record, good=s.good, candidate=None)
    else:
        made = draft.config(left, s.loaded)
        kept = draft.keep(left, made)
    template = draft.template(s, immutable=own_config, live=not s.immutable and not motion.alone)
    done = draft.step(left, made, kept, Phase.ROLLING_BACK, reason)
    return dataclasses.replace(done, template=template, candidate=None)


def _to_previous(s: Situation, bake: Bake, record: Record, reason: str) -> Step:
    own_config = s.immutable and bake.previous.immutable
    good = bake.previous
    if not own_config:  # a label that has been put on what stays since then is in use there
        moved = {label: version for label, version in s.before.items() if version in good.versions}
        good = dataclasses.replace(good, labels={**good.labels, **moved})
    left = dataclasses.replace(s, good=good, record=record, resting=frozenset())
    made = draft.config(left, good.versions, labels=good.labels, immutable=own_config)
    kept = dataclasses.replace(record, good=good, bake=None, candidate=None)
    template = draft.template(s, immutable=own_config)
    return dataclasses.replace(draft.step(left, made, kept, Phase.ROLLING_BACK, reason), template=template, candidate=None)


def _quarantined(s: Situation, record: Record, version: int, failure: failures.Failure) -> Record:
    held = s.rollout.on_failure is OnFailure.HOLD and failure.certain and not s.immutable
    return quarantine.added(record, s.fleet, version, failure.cause, failure.message, s.desired.retry, held=held)


def _unwanted(s: Situation, motion: Motion) -> str:
    """Return why what is in motion must not go on although it didn't fail; ``""``: it may."""
    if motion.version not in s.wanted:
        return rest.not_wanted(s, motion.version)
    if s.immutable and not gates.approved(s, motion.version):
        return "its approval was withdrawn"
    server = s.facts.server
    if s.immutable and server is not None and server.problem and not server.as_desired:
        # Spec's template waits for the version, and the version for pods that may never start: they are what has been mended.
        return f"its pods can't start: {server.problem}; spec asks for other pods now, and they come first"
    return ""
