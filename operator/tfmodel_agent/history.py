"""What the agent remembers of one model server, folded from what it did and saw. Losing it costs one extra reload.

A model server can't be asked for its config, and its status keeps failures of earlier lives: what was pushed, and when,
is what makes its answers readable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfmodel_agent import crashes as blaming
from tfmodel_agent import failures as failed
from tfmodel_agent.failures import Key

POLL_SECONDS = 1.0
"""`--file_system_poll_wait_seconds`: changes closer together than this are one change to the server."""
STALE_SECONDS = POLL_SECONDS + 1.5
"""For so long after a push a version's END may still be that of its previous life (measured: 0.7–1.2 s)."""
LOAD_SECONDS = 600.0
"""How long one load, warmup included, may take before it counts as hung."""
MAX_PROVEN = 2000
"""Versions that are remembered as having served; the latest ones."""

ASPIRED = frozenset({"START", "LOADING", "AVAILABLE"})
LIVE = ASPIRED | {"UNLOADING"}


@dataclasses.dataclass(frozen=True, slots=True)
class ServerVersion:
    """One entry of a GetModelStatus answer. ``code`` is a gRPC status code; END with code 0 is an orderly unload."""

    state: str
    code: int = 0
    message: str = ""


Versions = Mapping[int, ServerVersion]


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One look at the server. A model that isn't in ``models`` is unknown to it.

    Args:
        message: Why there was no look; ``""`` if there was one.
        is_busy: It is there, and has no thread or no time for an answer. That says nothing of what it serves.
    """

    models: Mapping[str, Versions] = dataclasses.field(default_factory=dict)
    message: str = ""
    is_busy: bool = False

    @property
    def reachable(self) -> bool:
        return not self.message

    def state(self, name: str, version: int) -> str:
        """Return the server's word for ``version`` of model ``name``, ``""`` if it has none."""
        found = self.models.get(name, {}).get(version)
        return found.state if found else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """What one model's entry in the pushed config asks for."""

    versions: frozenset[int]
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """A version that was pushed at ``since``, and the mark of its files (:func:`tfmodel_agent.crashes.mark`)."""

    mark: str
    since: float


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """What is known of the current life of the server; all times are monotonic seconds.

    Args:
        pushed: The config the server has, or None: not known (the agent has just started, or the server drifted).
        pushed_at: When the last reload was answered.
        in_flight_since: When the reload was sent that has no answer yet.
        added: When a version was first pushed, by (model, version).
        alive: Versions seen in a live state since they were added.
        failures: By (model, version).
        left: When a model's name was last taken out of the config.
        proven: The files of versions that have been AVAILABLE, in this life of the server or an earlier one, as
            :func:`tfmodel_agent.crashes.mark` names them.
        loading: Versions that were pushed and have neither served nor failed since.
        serving: Versions that were AVAILABLE when the server last answered.
        labels: Where each label of a model was put last, in this life of the server or an earlier one.
        served: What `serving` was at the end of the server's previous life.
        crashes: What speaks against versions that were loading when the server died.
        trial: The one of them that may be loaded now.
        suspect: Why the server must be restarted; ``""`` if it needn't.
        is_away: The server did not answer the last look.
        orphaned: The names in a reload whose answer nobody waits for any more: an earlier agent sent it, or the connection
            broke. The server still works on it, or has done so, or is gone.
        is_broken: It was the connection.
        began_at: When this life of the server, or of the agent, was first seen.
        is_fed: All that could be served at once has been, in this life of the server.
        was_fed: It has been in an earlier one.
    """

    pushed: Mapping[str, Served] | None = None
    pushed_at: float = 0.0
    in_flight_since: float | None = None
    added: Mapping[Key, float] = dataclasses.field(default_factory=dict)
    alive: frozenset[Key] = frozenset()
    failures: failed.Failures = dataclasses.field(default_factory=dict)
    left: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proven: Mapping[Key, str] = dataclasses.field(default_factory=dict)
    loading: Mapping[Key, Loading] = dataclasses.field(default_factory=dict)
    serving: frozenset[Key] = frozenset()
    served: frozenset[Key] = frozenset()
    labels: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    crashes: Mapping[Key, blaming.Crash] = dataclasses.field(default_factory=dict)
    trial: Key | None = None
    suspect: str = ""
    reachable: bool = False
    is_away: bool = False
    orphaned: frozenset[str] = frozenset()
    is_broken: bool = False
    began_at: float = 0.0
    is_fed: bool = False
    was_fed: bool = False

    @property
    def names(self) -> set[str]:
        """The models to ask the server about, besides those that are wanted."""
        return {*(self.pushed or {}), *self.orphaned, *(name for name, _ in (*self.loading, *self.serving))}


def sent(history: History, config: Mapping[str, Served], now: float, fingerprints: Mapping[Key, object] | None = None) -> History:
    """A reload with ``config`` was sent.

    Args:
        fingerprints: Of the files of every version on the volume.
    """
    before = history.pushed or {}
    new = keys(config) - keys(before)
    begun = new - history.serving  # what serves is not loaded again, whatever its files are by now
    return dataclasses.replace(
        history,
        in_flight_since=now,
        added={**history.added, **dict.fromkeys(new, now)},
        alive=history.alive - new,
        left={**history.left, **dict.fromkeys(set(before) - set(config), now)},
        pushed=config,
        labels=_labels(history, config),
        loading={**history.loading, **{key: Loading(blaming.mark((fingerprints or {}).get(key)), now) for key in begun}},
    )


def _labels(history: History, config: Mapping[str, Served]) -> dict[str, dict[str, int]]:
    """A restarted server, or agent, goes on with the labels it had, when their versions are there again."""
    names = {*config, *(name for name, _ in history.served)}
    pushed = {name: served.labels for name, served in config.items()}
    return {name: found for name in names if (found := {**history.labels.get(name, {}), **pushed.get(name, {})})}


def answered(history: History, now: float) -> History:
    """The reload in flight was answered, whatever the answer: what it did is read from GetModelStatus."""
    return dataclasses.replace(history, in_flight_since=None, pushed_at=now)


def doubted(history: History, now: float) -> History:
    """The server refused the reload without applying it: what config it has now isn't known."""
    begun = {key: load for key, load in history.loading.items() if key in history.alive}
    return dataclasses.replace(history, in_flight_since=None, pushed_at=now, pushed=None, loading=begun)


def broken(history: History, now: float) -> History:
    """The connection broke with a reload in flight: the server is gone, or executes it whether or not anybody waits."""
    if not history.pushed:
        return doubted(history, now)
    return dataclasses.replace(history, in_flight_since=now, orphaned=frozenset(history.pushed), is_broken=True)


def suspected(history: History, reason: str) -> History:
    """The server can't be trusted to execute another reload; only a restart helps."""
    return dataclasses.replace(history, suspect=history.suspect or reason)


def look(history: History, seen: Seen, fingerprints: Mapping[Key, object], now: float) -> History:
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
    live = {(name, v) for name, versions in seen.models.items() for v, found in versions.items() if found.state in LIVE}
    history = dataclasses.replace(history, reachable=True, is_away=False, alive=history.alive | live)
    known: failed.Failures = {key: failure for key, failure in history.failures.items() if seen.state(*key) != "AVAILABLE"}
    for name, versions in seen.models.items():
        for version, found in versions.items():
            if _failed(history, name, version, found, now):
                known = failed.with_failed(known, (name, version), found.message, fingerprints.get((name, version)), now)
    history = _settle(dataclasses.replace(history, failures=known), seen, fingerprints, now)
    if _drifted(history, seen, now):
        history = dataclasses.replace(history, pushed=None)
    return history


def keys(config: Mapping[str, Served]) -> frozenset[Key]:
    """Return all versions in ``config``."""
    return frozenset((name, version) for name, served in config.items() for version in served.versions)


def _next_life(history: History, now: float) -> History:
    """The server was restarted: what is known of the files and of their loads stays, all else went with the old process."""
    loading, overdue = history.loading, overdue_loads(history, now)
    if history.suspect and overdue:
        loading = {key: loading[key] for key in overdue}  # it was restarted for them; the others only happened to be there
    elif history.suspect:  # for no load
        loading = {key: load for key, load in loading.items() if key in history.alive}
    marks = {key: load.mark for key, load in loading.items()}
    serving_names = {name for name, _ in history.serving}
    return History(
        pushed={},
        pushed_at=now,
        failures=history.failures,
        proven=history.proven,
        labels=history.labels,
        served=history.serving | {key for key in history.served if key[0] not in serving_names},
        crashes=blaming.blame(history.crashes, marks, now, is_hang=bool(history.suspect)),
        began_at=now,
        was_fed=history.is_fed or history.was_fed,
    )


def overdue_loads(history: History, now: float) -> list[Key]:
    """Return the versions whose load takes too long."""
    return sorted(key for key, load in history.loading.items() if now - load.since > LOAD_SECONDS)


def _settle(history: History, seen: Seen, fingerprints: Mapping[Key, object], now: float) -> History:
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


def _was_dropped(history: History, seen: Seen, key: Key, now: float) -> bool:
    """Tell whether a load was given up because the version is not asked for any more."""
    name, version = key
    is_asked_for = history.pushed is None or (name in history.pushed and version in history.pushed[name].versions)
    return not is_asked_for and seen.state(name, version) not in LIVE and now - history.pushed_at > STALE_SECONDS


def _orphan_is_over(history: History, seen: Seen, now: float) -> bool:
    """A reload is answered when each name has a version that is AVAILABLE or END; what the server doesn't know it has lost."""
    if now - (history.in_flight_since or 0.0) <= STALE_SECONDS:
        return False
    return all(
        name not in seen.models or any(found.state in {"AVAILABLE", "END"} for found in seen.models[name].values())
        for name in history.orphaned
    )


def _restarted(history: History, seen: Seen, is_over: bool) -> bool:
    """A restarted server knows none of the models it was seen to know, or was away when suspect or after a connection broke."""
    if history.suspect and not history.reachable:
        return True
    if history.in_flight_since is not None and not history.orphaned:
        return False  # a restart breaks the connection, and the reload with it
    if known := {name for name, _ in history.alive} & history.names:
        return not known & set(seen.models)
    has_gone = is_over or (history.is_broken and history.is_away)
    return has_gone and not history.orphaned & set(seen.models)


def _failed(history: History, name: str, version: int, found: ServerVersion, now: float) -> bool:
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
    return (name, version) in history.alive or now - max(added, history.pushed_at) > STALE_SECONDS


def _drifted(history: History, seen: Seen, now: float) -> bool:
    """Tell whether the server has let go of something we pushed, or taken up another version of it.

    Then somebody else reloaded it, or it lost a change. Models of other names can't be seen: there is no call that lists them.
    """
    if history.pushed is None or history.in_flight_since is not None or now - history.pushed_at <= STALE_SECONDS:
        return False
    for name, served in history.pushed.items():
        found = seen.models.get(name, {})
        if any(version not in found or _is_unloaded(found[version]) for version in served.versions):
            return True
        if any(one.state in ASPIRED for version, one in found.items() if version not in served.versions):
            return True
    return False


def _is_unloaded(found: ServerVersion) -> bool:
    return found.state == "END" and found.code == 0
