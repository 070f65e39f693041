"""The ways forward of a version that is in motion: alone, beside what is promoted or in new pods, promoted."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api.rollout_spec import ComparisonPolicy
from tfmodel_operator.plan.rollout import draft, failures, gates, rest, wanted, words
from tfmodel_operator.plan.rollout.record import Bake, Good
from tfmodel_operator.plan.rollout.situation import Motion, Situation, second
from tfmodel_operator.plan.rollout.step import Phase, Step


def paused(s: Situation) -> Step | None:
    """A paused rollout stays where it is; the clock of what is in motion stands still."""
    if not s.rollout.paused or s.motion is None:
        return None
    where = "alone" if s.motion.alone else "beside what is promoted"
    reason = f"paused, with version {s.motion.version} {where}: set spec.rollout.paused to false to go on"
    return _stay(s, s.motion, Phase.PAUSED, reason)


def template_first(s: Situation) -> Step | None:
    """The pod template changes while a candidate is on trial: the trial makes way, and begins again with the new pods."""
    if s.motion is None or not s.motion.alone or not (said := rest.template_in_motion(s)):
        return None
    made = draft.config(dataclasses.replace(s, motion=None), s.loaded)
    reason = f"{said}; then version {s.motion.version} is tried again"
    return draft.step(s, made, draft.keep(s, made), Phase.UPDATING_TEMPLATE, reason)


def trial(s: Situation) -> Step | None:
    """A candidate is alone under its private name: it loads, is compared, is approved, and is handed over in one push."""
    if s.motion is None or not s.motion.alone:
        return None
    if waits := _gate(s, s.motion):
        return waits
    version = s.motion.version
    made = draft.config(s, s.loaded | {version})
    handed = dataclasses.replace(s.motion.candidate, since=second(s.now))
    compared = gates.compared(s, version)
    reason = f"publish {made}: version {version} has passed alone{'; ' + compared if compared else ''}"
    return draft.step(s, made, draft.keep(s, made, handed), Phase.GROWING, reason)


def grow(s: Situation) -> Step | None:
    """A candidate loads beside what is promoted, or in new pods, and is promoted when all ready pods have it."""
    if s.motion is None or s.motion.alone:
        return None
    if not gates.approved(s, s.motion.version):
        return _alone_again(s, s.motion)
    if said := failures.waiting(s, s.motion.version):
        phase = Phase.REPLACING if s.immutable else Phase.GROWING
        if s.immutable and s.facts.server is not None and s.facts.server.unschedulable:
            phase, said = _no_room(s), s.facts.server.problem
        return _stay(s, s.motion, phase, f"{words.counted(s, s.fleet.model, s.motion.version)}: {said}")
    return _promote(s, s.motion)


def _no_room(s: Situation) -> Phase:
    """Return what new pods wait for that find no node: what they ask for says it."""
    return Phase.WAITING_FOR_ACCELERATOR if s.desired.memory.accelerator else Phase.WAITING


def _gate(s: Situation, motion: Motion) -> Step | None:
    """Return the step that waits for what a candidate has to pass, or None: it has passed."""
    version = motion.version
    waits = _gate_after_loading(s, motion) if gates.after_loading(s) else None
    if waits is None and (said := wanted.unfit(version, s.fleet, s.record)):
        return _stay(s, motion, Phase.VERIFYING, said)  # it is loaded once more, by its own name
    return waits


def _gate_after_loading(s: Situation, motion: Motion) -> Step | None:
    version = motion.version
    if said := s.fleet.lacking(s.fleet.private, {version}):
        return _stay(s, motion, Phase.TRYING, f"alone, {words.counted(s, s.fleet.private, version)}: {said}")
    if not _is_reported(s) and (said := gates.unanswered(s, version)):
        return _stay(s, motion, Phase.COMPARING, said)
    if not gates.approved(s, version):
        compared = gates.compared(s, version)
        said = words.to_approve(s, version, "is loaded alone") + (f"; {compared}" if compared else "")
        return dataclasses.replace(_stay(s, motion, Phase.WAITING_FOR_APPROVAL, said), deadline=None)
    return None


def _is_reported(s: Situation) -> bool:
    """Tell whether nobody waits for the comparison any longer: its result would only be shown."""
    until = failures.deadline(s)
    return s.rollout.comparison.policy is ComparisonPolicy.REPORT and until is not None and s.now >= until


def _alone_again(s: Situation, motion: Motion) -> Step:
    """The approval was withdrawn before the version was promoted."""
    made = draft.config(s, s.loaded, alone=motion.version)
    alone = dataclasses.replace(motion.candidate, since=second(s.now))
    return draft.step(s, made, draft.keep(s, made, alone), Phase.TRYING, f"publish {made}: the approval was withdrawn")


def _promote(s: Situation, motion: Motion) -> Step:
    """What the candidate replaces goes, at once or after the bake; what is above it goes at once, or would get its requests."""
    target = s.coming(motion.version)
    is_above = motion.version > max(s.promoted, default=0)
    bakes = s.rollout.bake_seconds > 0 and s.good is not None and is_above
    leaving = frozenset(version for version in s.promoted - target if version < max(target)) if bakes else frozenset()
    done = dataclasses.replace(s, good=Good(target, s.before, s.immutable), resting=frozenset(), motion=None)
    made = s.published if s.immutable else draft.config(done, target | leaving)
    bake = Bake(s.good, second(s.now), motion.candidate.excused) if bakes and s.good else None
    kept = dataclasses.replace(s.record, good=Good(target, made.labels, s.immutable), bake=bake, candidate=None)
    reason = f"publish {made}: version {motion.version} AVAILABLE on {words.all_ready(s)}"
    promoted = draft.step(done, made, kept, Phase.BAKING if bakes else Phase.SETTLING, reason)
    return dataclasses.replace(promoted, deadline=second(s.now) + s.rollout.bake_seconds if bakes else None)


def _stay(s: Situation, motion: Motion, phase: Phase, reason: str) -> Step:
    """Return the step that changes nothing of what is served."""
    if s.immutable:
        made, kept = s.published, dataclasses.replace(s.record, good=s.good, candidate=motion.candidate)
    elif motion.alone:
        made = draft.config(s, s.loaded, alone=motion.version)
        kept = draft.keep(s, made, motion.candidate)
    else:
        made = draft.config(s, s.loaded | {motion.version})
        kept = draft.keep(s, made, motion.candidate)
    until = failures.deadline(s)
    return dataclasses.replace(draft.step(s, made, kept, phase, reason), deadline=until if until and until > s.now else None)
