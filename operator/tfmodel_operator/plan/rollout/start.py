"""The beginning of a rollout: when a candidate may set out, and by which way."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api.rollout_spec import Strategy
from tfmodel_operator.plan.rollout import draft, gates, quarantine, rest, strategies, wanted, words
from tfmodel_operator.plan.rollout.record import Candidate
from tfmodel_operator.plan.rollout.situation import Situation, second
from tfmodel_operator.plan.rollout.step import Phase, Step

MAX_EXCUSED = 100
UNSTABLE_SECONDS = 600.0
"""A model server that ended by itself so shortly before a candidate set out may do so again, and the candidate isn't why."""


def start(s: Situation) -> Step | None:
    """Nothing is in motion and a version is missing: it sets out, once all pods agree on what is."""
    version = s.candidate
    if version is None or s.rollout.paused or s.record.bake is not None or s.resting or s.goes_down:
        return None
    decision = strategies.decide(s, version)
    if decision.blocked:
        return _wait(s, Phase.BLOCKED, f"version {version}: {decision.blocked}")
    if said := s.fleet.unsettled(s.published):
        return _wait(s, Phase.WAITING, f"version {version} is next; first {said}")
    if s.record.held:
        return _release(s, version)
    if decision.strategy is Strategy.IN_PLACE:
        return _in_place(s, version, decision.reason)
    return _replace(s, version, decision)


def _release(s: Situation, version: int) -> Step:
    """Give up what is held: there is memory for one candidate."""
    free = dataclasses.replace(s, record=quarantine.released(s.record))
    made = draft.config(free, s.loaded)
    reason = f"{words.names(s.record.held)} held no longer: version {version} is next"
    return draft.step(free, made, draft.keep(free, made), Phase.SETTLING, reason)


def _in_place(s: Situation, version: int, why: str) -> Step:
    """Load ``version`` in the pods that are there: alone first if it has to pass something after loading."""
    if s.immutable:
        return _make_changeable(s, version, why)
    if said := rest.template_in_motion(s):
        return _wait(s, Phase.UPDATING_TEMPLATE, f"{said}; then version {version}")
    alone = gates.after_loading(s)
    made = draft.config(s, s.loaded, alone=version) if alone else draft.config(s, s.loaded | {version})
    reason = f"publish {made}: {words.verified(s, version)}; in place, because {why}"
    return _set_out(s, draft.step(s, made, draft.keep(s, made, _candidate(s, version)), _phase(alone), reason))


def _phase(alone: bool) -> Phase:
    return Phase.TRYING if alone else Phase.GROWING


def _make_changeable(s: Situation, version: int, why: str) -> Step:
    """Pods that have their config from a ConfigMap of its own are replaced first, by ones whose config can be changed."""
    made = draft.config(s, s.loaded, immutable=False)
    reason = f"pods get a config that can be changed in place; then version {version} is loaded in them, because {why}"
    changed = draft.step(s, made, draft.keep(s, made), Phase.UPDATING_TEMPLATE, reason)
    return dataclasses.replace(changed, template=draft.template(s, immutable=False))


def _replace(s: Situation, version: int, decision: strategies.Decision) -> Step:
    """Load ``version`` in new pods; what it has to pass after loading is asked before."""
    if not gates.approved(s, version):
        return _wait(s, Phase.WAITING_FOR_APPROVAL, words.to_approve(s, version, "is verified"))
    both = s.rollout.strategy is Strategy.ROLLING_UPDATE and s.facts.server is not None and not s.facts.server.as_desired
    if not both and (said := rest.template_in_motion(s)):
        return _wait(s, Phase.UPDATING_TEMPLATE, f"{said}; then version {version}")
    target = s.target(version)
    made = draft.config(s, target, labels=wanted.labels(s.wish(target), s.before, target, target), immutable=True)
    candidate = dataclasses.replace(_candidate(s, version), with_template=both)
    kept = dataclasses.replace(s.record, good=s.good, candidate=candidate)
    how = "pods are recreated" if draft.recreates(s) else "pods are replaced"
    reason = f"publish {made}: {words.verified(s, version)}; {how}, because {decision.reason}"
    out = dataclasses.replace(draft.step(s, made, kept, Phase.REPLACING, reason), template=draft.template(s, immutable=True))
    return _set_out(s, out)


def _candidate(s: Situation, version: int) -> Candidate:
    since = s.now - UNSTABLE_SECONDS
    unstable = sorted(pod.name for pod in s.facts.pods if pod.crashed_at is not None and pod.crashed_at > since)
    return Candidate(version, second(s.now), second(s.now), excused=frozenset(unstable[:MAX_EXCUSED]))


def _set_out(s: Situation, step: Step) -> Step:
    return dataclasses.replace(step, deadline=second(s.now) + s.rollout.progress_deadline_seconds)


def _wait(s: Situation, phase: Phase, reason: str) -> Step:
    """Return the step that leaves what is promoted as it is, with another word on why."""
    return dataclasses.replace(rest.rest(s), phase=phase, reason=reason)
