"""What the agent remembers of one model server, folded from what it did and saw. Losing it costs one extra reload.

A model server can't be asked for its config, and its status keeps failures of earlier lives: what was pushed, and when,
is what makes its answers readable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

POLL_SECONDS = 1.0
"""`--file_system_poll_wait_seconds`: changes closer together than this are one change to the server."""
STALE_SECONDS = POLL_SECONDS + 1.5
"""For so long after a push a version's END may still be that of its previous life (measured: 0.7–1.2 s)."""
RETRY_SECONDS = (10.0, 30.0, 120.0, 600.0)
"""Waits before a version that failed to load is tried again; after the last one it stays out until its files change."""

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
    """One look at the server. A model that isn't in ``models`` is unknown to it; ``message`` says why there was no look."""

    models: Mapping[str, Versions] = dataclasses.field(default_factory=dict)
    message: str = ""

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
class Failure:
    """A version that ended with an error. ``fingerprint`` names the files it was loaded from."""

    message: str
    at: float
    count: int = 1
    fingerprint: object = None


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
        loaded: Names that have been AVAILABLE before, in this life of the server or an earlier one.
        suspect: Why the server must be restarted; ``""`` if it needn't.
        orphaned: The names in a reload that an earlier agent sent and whose answer nobody waits for: the server still works
            on it, or has done so.
    """

    pushed: Mapping[str, Served] | None = None
    pushed_at: float = 0.0
    in_flight_since: float | None = None
    added: Mapping[tuple[str, int], float] = dataclasses.field(default_factory=dict)
    alive: frozenset[tuple[str, int]] = frozenset()
    failures: Mapping[tuple[str, int], Failure] = dataclasses.field(default_factory=dict)
    left: Mapping[str, float] = dataclasses.field(default_factory=dict)
    loaded: frozenset[str] = frozenset()
    suspect: str = ""
    reachable: bool = False
    orphaned: frozenset[str] = frozenset()


def started(orphaned: frozenset[str], now: float) -> History:
    """The agent has just started; its predecessor may have left a reload behind, with the models ``orphaned``."""
    return History(orphaned=orphaned, in_flight_since=now if orphaned else None)


def sent(history: History, config: Mapping[str, Served], now: float) -> History:
    """A reload with ``config`` was sent."""
    before = history.pushed or {}
    new = {(name, version) for name, served in config.items() for version in served.versions} - {
        (name, version) for name, served in before.items() for version in served.versions
    }
    return dataclasses.replace(
        history,
        in_flight_since=now,
        added={**history.added, **dict.fromkeys(new, now)},
        alive=history.alive - new,
        left={**history.left, **dict.fromkeys(set(before) - set(config), now)},
        pushed=config,
    )


def answered(history: History, now: float) -> History:
    """The reload in flight was answered, whatever the answer: what it did is read from GetModelStatus."""
    return dataclasses.replace(history, in_flight_since=None, pushed_at=now)


def doubted(history: History, now: float) -> History:
    """The server refused the reload without applying it: what config it has now isn't known."""
    return dataclasses.replace(history, in_flight_since=None, pushed_at=now, pushed=None)


def suspected(history: History, reason: str) -> History:
    """The server can't be trusted to execute another reload; only a restart helps."""
    return dataclasses.replace(history, suspect=history.suspect or reason)


def look(history: History, seen: Seen, fingerprints: Mapping[tuple[str, int], object], now: float) -> History:
    """Fold one look at the server into ``history``.

    Args:
        fingerprints: Of the files of every version on the volume, by (model, version).
    """
    if not seen.reachable:
        return dataclasses.replace(history, reachable=False)
    if _restarted(history, seen, now):
        # The suspicion went with the old process; failures stay, because the files that caused them did.
        history = History(failures=history.failures, loaded=history.loaded, pushed={}, pushed_at=now)
    history = dataclasses.replace(history, reachable=True)
    if history.orphaned and _orphan_is_over(history, seen, now):
        history = dataclasses.replace(history, orphaned=frozenset(), in_flight_since=None)
    live = {(name, v) for name, versions in seen.models.items() for v, found in versions.items() if found.state in LIVE}
    history = dataclasses.replace(history, alive=history.alive | live)
    failures = {key: failure for key, failure in history.failures.items() if seen.state(*key) != "AVAILABLE"}
    for name, versions in seen.models.items():
        for version, found in versions.items():
            if _failed(history, name, version, found, now):
                count = failures[name, version].count + 1 if (name, version) in failures else 1
                before = failures.get((name, version))
                if before and before.fingerprint != fingerprints.get((name, version)):
                    count = 1
                failures[name, version] = Failure(found.message, now, count, fingerprints.get((name, version)))
    available = {name for name, versions in seen.models.items() if any(v.state == "AVAILABLE" for v in versions.values())}
    history = dataclasses.replace(history, failures=failures, loaded=history.loaded | available)
    if _drifted(history, seen, now):
        history = dataclasses.replace(history, pushed=None)
    return history


def _orphan_is_over(history: History, seen: Seen, now: float) -> bool:
    """A reload is answered when each name has a version that is AVAILABLE or END; what the server doesn't know it has lost."""
    if now - (history.in_flight_since or 0.0) <= STALE_SECONDS:
        return False
    return all(
        name not in seen.models or any(found.state in {"AVAILABLE", "END"} for found in seen.models[name].values())
        for name in history.orphaned
    )


def retry_at(failure: Failure) -> float | None:
    """Return when a failed version may be pushed again, or None: not before its files change."""
    if failure.count > len(RETRY_SECONDS):
        return None
    return failure.at + RETRY_SECONDS[failure.count - 1]


def _restarted(history: History, seen: Seen, now: float) -> bool:
    """A restarted server knows none of the models it was seen to know, or was away while suspect."""
    away_while_suspect = bool(history.suspect) and not history.reachable
    if history.in_flight_since is not None:
        return away_while_suspect  # a restart breaks the connection, and the reload with it
    known = {name for name, _ in history.alive} & set(history.pushed or {})
    return away_while_suspect or (bool(known) and not known & set(seen.models))


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
