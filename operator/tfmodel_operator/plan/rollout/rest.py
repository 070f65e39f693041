"""The step in which no version is on its way in: what is promoted stays, labels move, and what is no longer wanted goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tfmodel_operator.api import rollout_spec
from tfmodel_operator.plan.rollout import draft, wanted, words
from tfmodel_operator.plan.rollout.record import Good
from tfmodel_operator.plan.rollout.situation import Situation
from tfmodel_operator.plan.rollout.step import Phase, Step
from tfmodel_serving import model_config


def rest(s: Situation) -> Step:
    """Return the config of what is promoted, without what the user no longer wants of it."""
    if not s.promoted:
        return _discover(s)
    target = s.target()
    if target != s.promoted and (s.candidate is None or s.goes_down):
        return _let_go(s, target)
    return _bake(s) or _settle(s)


def _let_go(s: Situation, target: frozenset[int]) -> Step:
    """Drop versions that are no longer wanted, once every ready pod has those that stay."""
    leaving = words.names(s.loaded - target)
    stays = draft.config(s, s.loaded)
    if s.rollout.paused:
        return draft.step(s, stays, draft.keep(s, stays), Phase.PAUSED, f"paused; then {leaving} leaves")
    if said := s.fleet.lacking(s.fleet.model, target):
        reason = f"{leaving} kept until {words.names(target)} can take over: {said}"
        return draft.step(s, stays, draft.keep(s, stays), Phase.SETTLING, reason)
    record = dataclasses.replace(s.record, bake=None)
    fewer = dataclasses.replace(s, good=Good(target, s.before, s.immutable), resting=frozenset(), record=record)
    made = draft.config(fewer, target)
    return draft.step(fewer, made, draft.keep(fewer, made), Phase.SETTLING, f"publish {made}: {leaving} no longer wanted")


def _bake(s: Situation) -> Step | None:
    """Keep what was promoted before for a while, or for longer: until every ready pod has what is promoted now."""
    made = draft.config(s, s.loaded)
    if s.baking:
        stays = f", {words.names(s.resting)} still loaded for an instant way back" if s.resting else ", under observation"
        after = f"; version {s.candidate} is next" if s.candidate else ""
        reason = f"{words.names(s.promoted)} promoted{stays}{after}"
        return dataclasses.replace(draft.step(s, made, draft.keep(s, made), Phase.BAKING, reason), deadline=s.bake_until)
    if s.resting and s.rollout.paused:
        return draft.step(s, made, draft.keep(s, made), Phase.PAUSED, f"paused; then {words.names(s.resting)} leaves")
    if s.resting and (said := s.fleet.lacking(s.fleet.model, s.promoted)):
        return draft.step(s, made, draft.keep(s, made), Phase.SETTLING, f"{words.names(s.resting)} kept for now: {said}")
    return None


def _settle(s: Situation) -> Step:
    s = dataclasses.replace(s, resting=frozenset(), record=dataclasses.replace(s.record, bake=None))
    made = draft.config(s, s.promoted)
    phase, reason, failed = _word(s, made.labels)
    if made != s.published:
        phase, reason = (Phase.SETTLING if phase is Phase.COMPLETE else phase), f"publish {made}; {reason}"
    return dataclasses.replace(draft.step(s, made, draft.keep(s, made), phase, reason), failed=failed)


def _word(s: Situation, labels: Mapping[str, int]) -> tuple[Phase, str, int | None]:
    """Return what there is to say while nothing is in motion: the most important thing first.

    Args:
        labels: Where they are to be now.
    """
    promoted, server = f"{words.names(s.promoted)} promoted", s.facts.server
    amiss = {label: version for label, version in s.wish(s.promoted).items() if labels.get(label) != version}
    if s.rollout.paused and (s.candidate is not None or amiss or (server is not None and not server.as_desired)):
        return Phase.PAUSED, f"paused; {promoted}: set spec.rollout.paused to false to go on", None
    if said := template_in_motion(s):
        return Phase.UPDATING_TEMPLATE, f"{said}; {promoted}", None
    if missing := _missing(s):
        return _word_on(s, max(missing), promoted)
    if said := s.fleet.unsettled(s.published):
        return Phase.SETTLING, f"{promoted}; {said}", None
    if server is not None and server.replicas and (said := s.fleet.lacking(s.fleet.model, s.promoted)):
        return Phase.WAITING, f"{promoted}; {said}", None
    if absent := {label: version for label, version in amiss.items() if version not in s.promoted}:
        return _word_on_label(s, min(absent), labels, promoted)
    return Phase.COMPLETE, promoted, None


def _word_on_label(s: Situation, label: str, labels: Mapping[str, int], promoted: str) -> tuple[Phase, str, int | None]:
    """Say why a label is not where the user wants it: its version may come yet, or never will as spec is."""
    version = s.wish(s.promoted)[label]
    where = f"stays on version {labels[label]}" if label in labels else "is nowhere"
    said = f"label {label} {where}: version {version} is not served"
    if version in chosen(s, {version, *s.promoted}):
        return Phase.VERIFYING, f"{said} yet; {promoted}", None
    return Phase.BLOCKED, f"{said}, and versionPolicy doesn't ask for it: change that, or spec.versionLabels; {promoted}", None


def _word_on(s: Situation, version: int, promoted: str) -> tuple[Phase, str, int | None]:
    """Say why a version is not what it would be by the policy."""
    if quarantined := s.record.quarantined(version):
        again = f'it is tried again when its files change, or by the annotation {rollout_spec.RETRY}: "{version}"'
        held = f", and is kept as {s.fleet.private} for inspection" if quarantined.held else ""
        phase = Phase.HELD if quarantined.held else Phase.ROLLED_BACK
        return phase, f"version {version} failed{held}: {quarantined.message}; {promoted}; {again}", version
    said = wanted.unfit(version, s.fleet, s.record)
    return (
        (Phase.VERIFYING, f"{said}; {promoted}", None)
        if said
        else (Phase.WAITING, f"version {version} is next; {promoted}", None)
    )


def _missing(s: Situation) -> frozenset[int]:
    """Return the versions the policy would have if they could be had."""
    seen = s.fleet.known() | s.promoted
    if not s.fleet.reporting:
        seen |= {one.version for one in s.record.quarantine}
    if isinstance(s.desired.policy, model_config.Specific):
        seen |= set(s.desired.policy.versions)
    return chosen(s, seen) - s.promoted


def _discover(s: Situation) -> Step:
    """Nothing is promoted, and nothing may be without having passed: the agents look at the volume for a candidate."""
    made = draft.config(s, frozenset())
    phase = Phase.PAUSED if s.rollout.paused else Phase.STARTING
    return draft.step(s, made, draft.keep(s, made), phase, nothing_yet(s))


def nothing_yet(s: Situation) -> str:
    """Say why nothing is promoted."""
    if unreadable := s.fleet.unreadable():
        return f"nothing is promoted yet: {unreadable}"
    for version in sorted(_missing(s), reverse=True):
        said = wanted.unfit(version, s.fleet, s.record) or s.fleet.failed(s.fleet.model, version)
        if said:
            return f"nothing is promoted yet{_meanwhile(s)}: {said}"
    return f"nothing is promoted yet{_meanwhile(s)}: waiting for the first version to serve on all ready pods"


def _meanwhile(s: Situation) -> str:
    """Say what clients get from one pod or another while agents choose; ``""``: the same from all, which status names."""
    found = s.fleet.answering()
    return f", clients get {words.names(found)}" if len(found) > 1 else ""


def not_wanted(s: Situation, version: int) -> str:
    """Say why a version in motion is no longer wanted."""
    return wanted.unfit(version, s.fleet, s.record) or f"spec asks for {words.numbers(s.wanted) or 'none that can be had'} now"


def template_in_motion(s: Situation) -> str:
    """Say what pods are being replaced for, if they are; ``""``: they aren't."""
    server = s.facts.server
    if server is None:
        return "the Deployment is made"
    if not server.as_desired:
        return f"the pod template changes first, with {words.names(s.promoted)}"
    if s.rolling:
        return f"{s.rolling}{': ' + server.problem if server.problem else ''}"
    return ""


def chosen(s: Situation, versions: Iterable[int]) -> frozenset[int]:
    return wanted.chosen(s.desired.policy, frozenset(versions))
