"""The next safe step for one model server: a pure function of what is wanted, what is on the volume, and what was seen.

The rules, each the answer to something tensorflow_model_server does (core/aspired_versions_manager.cc,
core/availability_preserving_policy.cc, model_servers/server_core.cc; measured on r2.20):

* Grow, then shrink. A replace in one step whose new version fails wedges the model for good.
* A version that serves stays until every wanted version that can be had is AVAILABLE: bad versions and emptied volumes
  unload nothing. Nor does writing to its files: what is loaded doesn't change with them.
* A version that ended with an error is taken out and, after more than one poll of the server, tried again with back-off.
* A new name holds the server's reload lock until it has loaded, and may take the server down: beside models that serve, names
  are added one at a time, unless they have served before with the same files.
* A server that was restarted gets first, and at once, what had served before. What was loading when it died is loaded alone;
  before everything new if it has served with the same files, else after everything else.
* A name is added again only when the END of its previous life was seen.
* One reload in flight, ever. An overdue one, or a load that hangs, makes the server suspect: only a restart helps. One that waits
  while nothing is served or loading, behind somebody else's, is overdue sooner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from tfmodel_agent import failures, trials
from tfmodel_agent import history as memory
from tfmodel_serving import model_config, saved_model

CONFIRM_SECONDS = 0.1
"""How soon to look again while something moves."""
STUCK_SECONDS = 60.0
"""How long a reload may have no answer while the server neither serves nor loads anything of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One model of the mounted config, with what is on the volume for it.

    Args:
        findings: Verdict by version, of every version on the volume.
        source_message: Why the base path can't be read; ``""`` if it can.
        watched: Versions to be told of whether or not they are in use.
    """

    model: model_config.Model
    findings: Mapping[int, saved_model.Finding] = dataclasses.field(default_factory=dict)
    fingerprints: Mapping[int, object] = dataclasses.field(default_factory=dict)
    source_message: str = ""
    watched: frozenset[int] = frozenset()

    @property
    def verified(self) -> frozenset[int]:
        return frozenset(v for v, finding in self.findings.items() if finding.verdict is saved_model.Verdict.VERIFIED)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What to do next.

    Args:
        push: The config to reload the server with, or None: nothing to send.
        suspect: Why the server must be restarted.
        settled: The server serves what the mounted files and the volume allow; nothing moves.
    """

    reason: str
    push: Mapping[str, memory.Served] | None = None
    suspect: str = ""
    settled: bool = False


def wanted_versions(wanted: Wanted, seen: memory.Seen, history: memory.History, now: float) -> frozenset[int]:
    """Return the versions the policy asks for, of those that can be had now.

    A version that serves can be had whatever is found in its directory, and if it is asked for by its number even without one.
    """
    sound = frozenset(v for v in wanted.verified if not _held_back(wanted, v, history, now))
    serving = _serving(wanted.model.name, seen, history)
    there = sound | (serving & frozenset(wanted.findings))
    match wanted.model.version_policy:
        case model_config.Latest(num_versions):
            return frozenset(sorted(there)[-num_versions:])
        case model_config.All():
            return there
        case model_config.Specific(versions):
            return (sound | serving) & frozenset(versions)


def named(model: model_config.Model, versions: Iterable[int]) -> frozenset[int]:
    """Return those of ``versions`` that the policy doesn't rule out."""
    policy, there = model.version_policy, frozenset(versions)
    return there & frozenset(policy.versions) if isinstance(policy, model_config.Specific) else there


def next_step(wanted: Sequence[Wanted], seen: memory.Seen, history: memory.History, now: float) -> Step:
    """Return the next safe step; calling it again with the same facts gives the same step."""
    step = _step(wanted, seen, history, now)
    if not history.crashes or not (step.settled or step.push):
        return step
    can_be_loaded = [(one.model.name, version) for one in wanted for version in one.verified]
    for key in trials.due(can_be_loaded, history, now):
        if not step.settled and (history.is_fed or not trials.has_served(key, history)):
            continue  # after everything else; but what clients had, and miss, comes first
        trial = _step(wanted, seen, dataclasses.replace(history, trial=key), now)
        if trial.push is not None and memory.keys(trial.push) - memory.keys(history.pushed or {}) == {key}:
            return dataclasses.replace(trial, reason=f"{trial.reason}, alone: the server died while it was loading")
    return step


def _step(wanted: Sequence[Wanted], seen: memory.Seen, history: memory.History, now: float) -> Step:
    if history.suspect:
        return Step(f"waiting for a restart of the model server: {history.suspect}", suspect=history.suspect)
    if not seen.reachable and not seen.is_busy:
        return Step(f"waiting for the model server: {seen.message}")
    if hung := _hung(seen, history, now):
        return Step(f"the model server must be restarted: {hung}", suspect=hung)
    if seen.is_busy:
        return Step(f"waiting for the model server: {seen.message}")
    if history.in_flight_since is not None:
        return Step("waiting for the model server to answer a reload")
    if alone := trials.running(history):
        return Step(f"{alone[0]}: version {alone[1]} is loading alone: the server died while it was loading")
    entries = {one.model.name: _entry(one, seen, history, now) for one in wanted}
    target, waits = _admit(wanted, entries, seen, history, now)
    if history.pushed is None or _differs(target, history.pushed):
        return Step(_describe(target, history.pushed), push=target)
    waits += [
        f"{name}: version {version} is {seen.state(name, version) or 'not known to the server yet'}"
        for name, served in sorted(target.items())
        for version in sorted(served.versions)
        if seen.state(name, version) != "AVAILABLE"
    ]
    waits += [
        f"{name}: version {version} is on its way out"
        for name, served in sorted(target.items())
        for version, found in sorted(seen.models.get(name, {}).items())
        if version not in served.versions and found.state in memory.LIVE
    ]
    if waits:
        return Step("; ".join(waits))
    return Step("serving what is wanted", settled=True)


def _entry(wanted: Wanted, seen: memory.Seen, history: memory.History, now: float) -> memory.Served:
    """Return what the server should be asked for this model next, apart from whether its name may be added now."""
    name = wanted.model.name
    current = _current(name, seen, history)
    failed = {version for version in current if _failed_since_added(name, version, history)}
    available = {version for version in current if seen.state(name, version) == "AVAILABLE"}
    target = wanted_versions(wanted, seen, history, now)
    if not current:
        target = _restored(wanted, target, history)
    kept = current - failed
    versions = target if target and target <= available else kept | target
    return memory.Served(versions, _labels(wanted.model, versions, available, history))


def _restored(wanted: Wanted, target: frozenset[int], history: memory.History) -> frozenset[int]:
    """Return what a restarted server gets of a model: if the target has not served yet, what did serve; the target comes then.

    What the config doesn't name any more only if nothing else can be had: it may have been taken back.
    """
    name = wanted.model.name
    before = wanted.verified & {version for served, version in history.served if served == name}
    if target:
        before &= named(wanted.model, before)
    if not before or (target and _is_proven(wanted, target, history)):
        return target
    served = {version for version in before if not trials.is_barred((name, version), history)}
    return frozenset(version for version in served if _is_proven(wanted, frozenset({version}), history)) or target


def _current(name: str, seen: memory.Seen, history: memory.History) -> frozenset[int]:
    """Return the versions the server is believed to have been asked for."""
    if history.pushed is not None:
        return history.pushed[name].versions if name in history.pushed else frozenset()
    return frozenset(v for v, found in seen.models.get(name, {}).items() if found.state in memory.ASPIRED)


def _serving(name: str, seen: memory.Seen, history: memory.History) -> frozenset[int]:
    """Return the versions that are AVAILABLE because we asked for them; an agent that hasn't asked yet takes what there is."""
    available = frozenset(version for version, found in seen.models.get(name, {}).items() if found.state == "AVAILABLE")
    return frozenset(version for version in available if not history.added or (name, version) in history.added)


def _failed_since_added(name: str, version: int, history: memory.History) -> bool:
    failure = history.failures.get((name, version))
    return failure is not None and failure.at >= history.added.get((name, version), 0.0)


def _held_back(wanted: Wanted, version: int, history: memory.History, now: float) -> bool:
    """Tell whether a version that failed has to wait, for a poll of the server at least, or for its trial."""
    key = (wanted.model.name, version)
    if trials.is_barred(key, history):
        return True
    failure = history.failures.get(key)
    if failure is None or history.added.get(key, 0.0) > failure.at:
        return False  # never failed, or on trial again
    if failure.fingerprint != wanted.fingerprints.get(version):
        return now < failure.at + 2 * memory.STALE_SECONDS  # its files have changed: no back-off, but let the old life end
    again = failures.retry_at(failure, has_served=trials.is_proven(key, wanted.fingerprints, history))
    return again is None or now < again


def _labels(model: model_config.Model, versions: frozenset[int], available: set[int], history: memory.History) -> dict[str, int]:
    """Return the labels that may be pushed: a label moves only to an AVAILABLE version, and stays where it is until then."""
    before = history.labels.get(model.name, {})
    labels = {}
    for label, version in model.version_labels.items():
        if version in versions & available:
            labels[label] = version
        elif before.get(label) in versions & available:
            labels[label] = before[label]
    return labels


def _is_proven(wanted: Wanted, versions: frozenset[int], history: memory.History) -> bool:
    """Tell whether all of ``versions`` have served before, with the files they have now."""
    return all(trials.is_proven((wanted.model.name, version), wanted.fingerprints, history) for version in versions)


def _admit(
    wanted: Sequence[Wanted], entries: Mapping[str, memory.Served], seen: memory.Seen, history: memory.History, now: float
) -> tuple[dict[str, memory.Served], list[str]]:
    """Return the config to have next, and why names are left out of it for now."""
    target: dict[str, memory.Served] = {}
    waits: list[str] = []
    new: list[str] = []
    for name, entry in sorted(entries.items()):
        known = name in (history.pushed if history.pushed is not None else seen.models)
        if not entry.versions:
            continue  # `specific {}` would unload the model, and hang a reload that adds it
        if known and _current(name, seen, history):
            target[name] = entry
        elif still := [v for v, found in seen.models.get(name, {}).items() if found.state in memory.LIVE]:
            waits.append(f"{name}: waiting for the END of version {max(still)}")
        elif now - history.left.get(name, -memory.STALE_SECONDS) < memory.STALE_SECONDS:
            waits.append(f"{name}: waiting for the model server to let go of it")
        else:
            new.append(name)
    proven = [
        one.model.name for one in wanted if one.model.name in new and _is_proven(one, entries[one.model.name].versions, history)
    ]
    has_neighbours = bool(history.serving or history.served)
    for name in proven or (new[:1] if has_neighbours else new):
        target[name] = entries[name]
    waits += [f"{name}: waiting for its turn to be added" for name in new if name not in target]
    return target, waits


def _hung(seen: memory.Seen, history: memory.History, now: float) -> str:
    seconds = memory.LOAD_SECONDS
    if _is_stuck(seen, history, now):
        return f"a reload has had no answer for {STUCK_SECONDS:.0f} s, and nothing is served or loading: somebody else's may hang"
    if history.in_flight_since is not None and now - history.in_flight_since > seconds:
        return f"a reload has had no answer for {seconds:.0f} s"
    for name, version in memory.overdue_loads(history, now):
        if (state := seen.state(name, version)) in {"START", "LOADING"}:
            return f"{name}: version {version} has been {state} for {seconds:.0f} s"
    return ""


def _is_stuck(seen: memory.Seen, history: memory.History, now: float) -> bool:
    """Tell whether our reload waits for one that never ends, as with a base path that is missing, and a restart costs nothing."""
    if not seen.reachable or history.in_flight_since is None or now - history.in_flight_since <= STUCK_SECONDS:
        return False
    states = {found.state for name in history.pushed or {} for found in seen.models.get(name, {}).values()}
    return bool(history.pushed) and not states & memory.LIVE


def _differs(target: Mapping[str, memory.Served], pushed: Mapping[str, memory.Served]) -> bool:
    return dict(target) != dict(pushed)


def _describe(target: Mapping[str, memory.Served], pushed: Mapping[str, memory.Served] | None) -> str:
    """Say what a push changes, as a person would: `half: {3} -> {3, 4}`."""
    if pushed is None:
        return f"pushing the whole config: what the model server has is not known ({len(target)} models)"
    changes = []
    for name in sorted({*target, *pushed}):
        before, after = pushed.get(name), target.get(name)
        if before != after:
            changes.append(f"{name}: {_show(before)} -> {_show(after)}")
    return "; ".join(changes)


def _show(served: memory.Served | None) -> str:
    if served is None:
        return "-"
    labels = "".join(f" {label}={version}" for label, version in sorted(served.labels.items()))
    return "{" + ", ".join(str(version) for version in sorted(served.versions)) + "}" + labels
