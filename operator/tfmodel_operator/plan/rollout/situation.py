"""Where a rollout stands, worked out of the facts: what is promoted, what is in motion, what is wanted.

The record is believed where it speaks; where it is lost, the published config and what the pods serve are: a version stands
under the model's name only when it has passed its gates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfmodel_operator.api import rollout_spec
from tfmodel_operator.plan.rollout import config, fleet, quarantine, wanted
from tfmodel_operator.plan.rollout import record as records
from tfmodel_operator.plan.rollout.facts import Desired, Facts, Published
from tfmodel_serving import state


@dataclasses.dataclass(frozen=True, slots=True)
class Motion:
    """A version that is published and not promoted.

    Args:
        alone: Under its private name; else under the model's own.
    """

    version: int
    alone: bool
    candidate: records.Candidate


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """One moment.

    Args:
        good: What is promoted; None: nothing, or (unless ``known``) nobody knows.
        resting: Versions that were promoted before and are still loaded, for a way back.
        motion: What is on its way in.
        wanted: The versions the policy asks for, of those that can be had.
    """

    desired: Desired
    facts: Facts
    now: float
    fleet: fleet.Fleet
    record: records.Record
    good: records.Good | None
    known: bool
    resting: frozenset[int]
    motion: Motion | None
    wanted: frozenset[int]

    @property
    def rollout(self) -> rollout_spec.Rollout:
        return self.desired.rollout

    @property
    def published(self) -> config.Config:
        return self.facts.published.config if self.facts.published else config.Config()

    @property
    def immutable(self) -> bool:
        """Pods have the config from a ConfigMap of its own."""
        return self.facts.published is not None and self.facts.published.immutable

    @property
    def promoted(self) -> frozenset[int]:
        return self.good.versions if self.good else frozenset()

    @property
    def loaded(self) -> frozenset[int]:
        """Versions under the model's name that have passed everything."""
        return self.promoted | self.resting

    @property
    def rolling(self) -> str:
        """Which pod is of another template than the Deployment has; ``""``: none."""
        return next((f"pod {pod.name} is still of the template before" for pod in self.facts.pods if not pod.current), "")

    @property
    def bake_until(self) -> float | None:
        return self.record.bake.since + self.rollout.bake_seconds if self.record.bake else None

    @property
    def baking(self) -> bool:
        return self.bake_until is not None and self.now < self.bake_until

    @property
    def candidate(self) -> int | None:
        """The version to bring in: the one in motion, while it is wanted, or else the newest that is missing."""
        if self.motion and self.motion.version in self.wanted:
            return self.motion.version
        return max(self.wanted - self.loaded, default=None)

    @property
    def goes_down(self) -> bool:
        """What gets the requests that name no version is no longer wanted, and something below it is: that comes first."""
        return max(self.target(), default=0) < max(self.promoted, default=0)

    def target(self, candidate: int | None = None) -> frozenset[int]:
        """Return what should be served once ``candidate`` is promoted; never nothing while something is."""
        served = self.loaded | ({candidate} if candidate else set())
        target = self.wanted & served
        if not target:
            return self.promoted
        return target | wanted.kept_by_labels(served, self.wish(target), self.before, target)

    def coming(self, candidate: int) -> frozenset[int]:
        """Return what is promoted with the candidate in motion: new pods have that, whatever spec says by now.

        What can't be had any more is no reason to give up what can.
        """
        coming = self.published.versions if self.immutable else self.target(candidate)
        gone = {v for v in coming if v != candidate and (self.fleet.is_nowhere(v) or wanted.lost(v, self.fleet))}
        return coming - gone

    def wish(self, target: frozenset[int]) -> Mapping[str, int]:
        """Return where the user wants labels, once ``target`` is served."""
        if self.desired.labels is not None:
            return self.desired.labels
        return {wanted.STABLE: max(target)} if target else {}

    @property
    def before(self) -> Mapping[str, int]:
        """Where labels are."""
        return self.good.labels if self.good else {}


def situation(desired: Desired, facts: Facts, now: float) -> Situation:
    """Work out where the rollout stands."""
    published = facts.published
    pods = fleet.Fleet(desired.model, published.hash if published else None, facts.pods)
    kept = quarantine.reviewed(_until(now, records.from_text(facts.record)), pods, desired.retry, desired.policy)
    if desired.rollout.on_failure is not rollout_spec.OnFailure.HOLD:
        kept = quarantine.released(kept)
    good, known = (kept.good, True) if _can_be_so(kept.good, published) else _recalled(published, pods, kept.candidate)
    promoted = good.versions if good else frozenset()
    served = published.config.versions if published else frozenset()
    resting = (kept.bake.previous.versions & served) - promoted if kept.bake else frozenset()
    stopped = desired.rollout.paused or (facts.server is not None and (not facts.server.replicas or _lacks_room(facts, pods)))
    motion = _motion(published, kept, promoted | resting, now, stopped=stopped) if known else None
    return Situation(
        desired=desired,
        facts=facts,
        now=now,
        fleet=pods,
        record=kept,
        good=good,
        known=known,
        resting=resting,
        motion=motion,
        wanted=_wanted(desired, pods, kept, promoted | resting, motion),
    )


def _lacks_room(facts: Facts, pods: fleet.Fleet) -> bool:
    """Tell whether a version waits for pods that no node has room for: in place it is the ready ones that have to have it."""
    is_immutable = facts.published is not None and facts.published.immutable
    return facts.server is not None and facts.server.unschedulable and (is_immutable or not pods.ready)


def _until(now: float, record: records.Record) -> records.Record:
    """Return ``record`` without times to come: another operator's clock was ahead, or this one's has been set back."""
    candidate, bake = record.candidate, record.bake
    if candidate:
        since, started = min(candidate.since, second(now)), min(candidate.started, second(now))
        candidate = dataclasses.replace(candidate, since=since, started=started)
    if bake:
        bake = dataclasses.replace(bake, since=min(bake.since, second(now)))
    return dataclasses.replace(record, candidate=candidate, bake=bake)


def _can_be_so(good: records.Good | None, published: Published | None) -> bool:
    """Tell whether what the record says can be true: it is written with the config that it is about, unless new pods have that.

    Somebody may have edited it, or brought it back from a backup.
    """
    if good is None or good.immutable or published is None or published.immutable or not published.config.versions:
        return good is not None
    return good.versions <= published.config.versions


def _recalled(
    published: Published | None, pods: fleet.Fleet, candidate: records.Candidate | None
) -> tuple[records.Good | None, bool]:
    """Return what is promoted, from what is published and served, and whether that is known."""
    named = published.config.versions if published else frozenset()
    if published and not named:
        return None, True  # nothing was ever pinned: the agents choose
    if pods.silent or (published is None and not pods.at_rest()):
        return None, False
    serving = pods.serving()
    found = (named & serving) or serving  # what nobody names and all serve is what clients get
    if found:
        placed = (pods.labels(), published.config.labels if published else {})
        kept = {label: version for labels in placed for label, version in labels.items() if version in found}
        return records.Good(found, kept, bool(published and published.immutable)), True
    if candidate is not None and named == {candidate.version} and not pods.serves():
        return None, True  # the first one, on its way in
    nothing_yet = (published is None and not pods.has_entry()) or hopeless(named, pods)
    return None, nothing_yet and not pods.serves()


def hopeless(named: frozenset[int], pods: fleet.Fleet) -> bool:
    """Tell whether no pod that has read the config can have any of the versions it names."""
    found = [pods.said(pod, pods.model, version) for pod in pods.following for version in named]
    return bool(found) and all(one is not None and _cannot_be_had(one) for one in found)


def _cannot_be_had(found: state.VersionState) -> bool:
    return found.state not in fleet.LIVE and (found.failed or found.verdict in {"Missing", "Rejected"})


def _motion(
    published: Published | None, kept: records.Record, loaded: frozenset[int], now: float, *, stopped: bool
) -> Motion | None:
    if published is None:
        return None
    grown, alone = published.config.versions - loaded, published.config.on_trial - kept.held
    if not grown and not alone:
        return None
    version = max(grown or alone)
    before = kept.candidate if kept.candidate and kept.candidate.version == version else None
    candidate = before or records.Candidate(version, second(now), second(now))
    if candidate.stopped and not stopped:
        candidate = dataclasses.replace(candidate, since=second(now))
    candidate = dataclasses.replace(candidate, stopped=stopped)
    return Motion(version, not grown, candidate)


def _wanted(
    desired: Desired, pods: fleet.Fleet, kept: records.Record, loaded: frozenset[int], motion: Motion | None
) -> frozenset[int]:
    fit = wanted.fit(pods, kept)
    can_be_had = fit | {version for version in loaded if not wanted.lost(version, pods)}
    if motion is None or not _goes_on(motion.version, pods, kept):
        return wanted.chosen(desired.policy, can_be_had)
    # What nobody is there to speak for makes no candidate superfluous: when all pods are replaced, it was lost a moment ago.
    certain = fit | {version for version in loaded if any(map(_is_there, pods.verdicts(version).values()))} | {motion.version}
    stays = wanted.chosen(desired.policy, certain) & {motion.version}
    return wanted.chosen(desired.policy, can_be_had | {motion.version}) | stays


def _is_there(found: state.VersionState | None) -> bool:
    return found is not None and (found.state in fleet.LIVE or found.verdict == "Verified")


def _goes_on(version: int, pods: fleet.Fleet, kept: records.Record) -> bool:
    """Tell whether a version in motion is still to be had: on some pod's volume, or nobody says otherwise.

    A pod that joins and hasn't seen it yet, or hasn't looked twice, doesn't end a rollout: its time runs out, or it sees it.
    """
    if kept.quarantined(version):
        return False
    ready = {pod.name for pod in pods.ready}
    found = pods.verdicts(version)
    looking = any(one is not None and one.verdict == "Incomplete" and name not in ready for name, one in found.items())
    return not found or looking or any(one is None or one.verdict == "Verified" for one in found.values())


def second(now: float) -> float:
    """Return ``now`` as the record keeps it."""
    return float(int(now))
