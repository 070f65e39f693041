"""One look at a model server, folded into what is known of it: what loaded, failed, drifted, or was restarted; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfmodel_agent import crashes as blaming
from tfmodel_agent import failures as failed
from tfmodel_agent import history as memory
from tfmodel_agent.failures import Key

MAX_PROVEN = 2000
"""Versions that are remembered as having served; the latest ones."""


def fold(history: memory.History, seen: memory.Seen, fingerprints: Mapping[Key, object], now: float) -> memory.History:
    """Fold one look at the server into ``history``.

    Args:
        fingerprints: Of the files of every version on the volume, by (model, version).
    """
    if seen.is_busy:
        return history
    if not seen.reachable:
        return dataclasses.replace(history, reachable=False, is_away=True)
    is_over = bool(history.orphaned) and _orphan_is_over(history, seen, now)
    if _restarted(history, seen, is_over):
        history = _next_life(history, now)
    elif is_over:
        history = dataclasses.replace(history, orphaned=frozenset(), is_broken=False, in_flight_since=None, pushed=None)
    live = {(name, v) for name, versions in seen.models.items() for v, found in versions.items() if found.state in memory.LIVE}
    history = dataclasses.replace(history, reachable=True, is_away=False, alive=history.alive | live)
    history = dataclasses.replace(history, failures=_failures(history, seen, fingerprints, now))
    history = _settle(history, seen, fingerprints, now)
    if _drifted(history, seen, now):
        history = dataclasses.replace(history, pushed=None)
    return history


def _next_life(history: memory.History, now: float) -> memory.History:
    """The server was restarted: what is known of the files and of their loads stays, all else went with the old process."""
    loading, overdue = history.loading, memory.overdue_loads(history, now)
    if history.suspect and overdue:
        loading = {key: loading[key] for key in overdue}  # it was restarted for them; the others only happened to be there
    elif history.suspect:  # for no load
        loading = {key: load for key, load in loading.items() if key in history.alive}
    marks = {key: load.mark for key, load in loading.items()}
    return memory.History(
        pushed={},
        pushed_at=now,
        failures=history.failures,
        proven=history.proven,
        labels=history.labels,
        served=_served(history),
        crashes=blaming.blame(history.crashes, marks, now, is_hang=bool(history.suspect)),
        began_at=now,
        was_fed=history.is_fed or history.was_fed,
    )


def _served(history: memory.History) -> frozenset[Key]:
    """Return what the next life is to have again; a life in which no client was sent here changes nothing of that."""
    first, then = (history.serving, history.served) if history.is_fed else (history.served, history.serving)
    names = {name for name, _ in first}
    return first | {key for key in then if key[0] not in names}


def _failures(history: memory.History, seen: memory.Seen, fingerprints: Mapping[Key, object], now: float) -> failed.Failures:
    known: failed.Failures = {key: failure for key, failure in history.failures.items() if seen.state(*key) != "AVAILABLE"}
    for name, versions in seen.models.items():
        for version, found in versions.items():
            if _has_failed(history, name, version, found, now):
                known = failed.with_failed(known, (name, version), found.message, fingerprints.get((name, version)), now)
    return known


def _settle(history: memory.History, seen: memory.Seen, fingerprints: Mapping[Key, object], now: float) -> memory.History:
    """Note which loads are over, and what that says about their files."""
    serving = frozenset((name, v) for name, found in seen.models.items() for v, one in found.items() if one.state == "AVAILABLE")
    ended = {key for key, load in history.loading.items() if key in history.failures and history.failures[key].at >= load.since}
    over = {key for key in history.loading if key in serving or key in ended or _was_dropped(history, seen, key, now)}
    proven = {**history.proven, **{key: history.loading[key].mark for key in serving & history.loading.keys()}}
    proven |= {key: blaming.mark(fingerprints[key]) for key in serving & fingerprints.keys() if key not in proven}
    looked_at = {name for name, _ in fingerprints}
    there = [key for key in proven if key in serving or key in fingerprints or key[0] not in looked_at]
    return dataclasses.replace(
        history,
        serving=serving,
        proven={key: proven[key] for key in there[-MAX_PROVEN:]},
        loading={key: load for key, load in history.loading.items() if key not in over},
        crashes=blaming.forgive(history.crashes, serving | ended, fingerprints),
    )


def _was_dropped(history: memory.History, seen: memory.Seen, key: Key, now: float) -> bool:
    """Tell whether a load was given up because the version is not asked for any more."""
    name, version = key
    is_asked_for = history.pushed is None or (name in history.pushed and version in history.pushed[name].versions)
    return not is_asked_for and seen.state(name, version) not in memory.LIVE and now - history.pushed_at > memory.STALE_SECONDS


def _orphan_is_over(history: memory.History, seen: memory.Seen, now: float) -> bool:
    """A reload is answered when each name has a version that is AVAILABLE or END; what the server doesn't know it has lost."""
    if now - (history.in_flight_since or 0.0) <= memory.STALE_SECONDS:
        return False
    return all(
        name not in seen.models or any(found.state in {"AVAILABLE", "END"} for found in seen.models[name].values())
        for name in history.orphaned
    )


def _restarted(history: memory.History, seen: memory.Seen, is_over: bool) -> bool:
    """A restarted server knows none of the models it was seen to know, or was away when suspect or after a connection broke."""
    if history.suspect and not history.reachable:
        return True
    if history.in_flight_since is not None and not history.orphaned:
        return False  # a restart breaks the connection, and the reload with it
    if known := {name for name, _ in history.alive} & history.names:
        return not known & set(seen.models)
    has_gone = is_over or (history.is_broken and history.is_away)
    return has_gone and not history.orphaned & set(seen.models)


def _has_failed(history: memory.History, name: str, version: int, found: memory.ServerVersion, now: float) -> bool:
    """Tell whether END is the verdict on the load we asked for, rather than a memory of an earlier one."""
    if found.state != "END" or found.code == 0:
        return False
    if history.pushed is None:
        return (name, version) not in history.failures
    if name not in history.pushed or version not in history.pushed[name].versions:
        return False
    added = history.added.get((name, version), 0.0)
    failure = history.failures.get((name, version))
    if failure and failure.at >= added:
        return False  # counted already
    return (name, version) in history.alive or now - max(added, history.pushed_at) > memory.STALE_SECONDS


def _drifted(history: memory.History, seen: memory.Seen, now: float) -> bool:
    """Tell whether the server has let go of something we pushed, or taken up another version of it.

    Then somebody else reloaded it, or it lost a change. Models of other names can't be seen: there is no call that lists them.
    """
    if history.pushed is None or history.in_flight_since is not None or now - history.pushed_at <= memory.STALE_SECONDS:
        return False
    for name, served in history.pushed.items():
        found = seen.models.get(name, {})
        if any(version not in found or _is_unloaded(found[version]) for version in served.versions):
            return True
        if any(one.state in memory.ASPIRED for version, one in found.items() if version not in served.versions):
            return True
    return False


def _is_unloaded(found: memory.ServerVersion) -> bool:
    return found.state == "END" and found.code == 0
