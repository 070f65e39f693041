"""What the agent remembers of one model server, folded from what it did and saw. Losing it costs one extra reload.

A model server can't be asked for its config, and its status keeps failures of earlier lives: what was pushed, and when,
is what makes its answers readable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tfmodel_agent import failures as failed
from tfmodel_agent.failures import Failures, Key

POLL_SECONDS = 1.0
"""`--file_system_poll_wait_seconds`: changes closer together than this are one change to the server."""
STALE_SECONDS = POLL_SECONDS + 1.5
"""For so long after a push a version's END may still be that of its previous life (measured: 0.7–1.2 s)."""
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
class History:
    """What is known of the current life of the server; all times are monotonic seconds.

    Args:
        pushed: The config the server has, or None: not known (the agent has just started, or the server drifted).
        pushed_at: When the last reload was answered.
        in_flight_since: When the reload was sent that has no answer yet.
        added: When a version was first pushed, by (model, version).
        alive: Versions seen in a live state since they were added.
        trying: Versions that were pushed and have neither loaded nor failed yet.
        failures: By (model, version).
        left: When a model's name was last taken out of the config.
        loaded: Names that have been AVAILABLE before, in this life of the server or an earlier one.
        doubtful: Versions of which one may have been what an earlier life ended of, and that have not loaded or failed since.
        suspect: Why the server must be restarted; ``""`` if it needn't.
        broken: The connection broke with a reload in flight: the server may have died of it.
        orphaned: The names in a reload that an earlier agent sent and whose answer nobody waits for: the server still works
            on it, or has done so.
    """

    pushed: Mapping[str, Served] | None = None
    pushed_at: float = 0.0
    in_flight_since: float | None = None
    added: Mapping[Key, float] = dataclasses.field(default_factory=dict)
    alive: frozenset[Key] = frozenset()
    trying: frozenset[Key] = frozenset()
    failures: Failures = dataclasses.field(default_factory=dict)
    left: Mapping[str, float] = dataclasses.field(default_factory=dict)
    loaded: frozenset[str] = frozenset()
    doubtful: frozenset[Key] = frozenset()
    suspect: str = ""
    broken: bool = False
    reachable: bool = False
    orphaned: frozenset[str] = frozenset()


def started(orphaned: frozenset[str], now: float) -> History:
    """The agent has just started; its predecessor may have left a reload behind, with the models ``orphaned``."""
    return History(orphaned=orphaned, in_flight_since=now if orphaned else None)


def sent(history: History, config: Mapping[str, Served], now: float) -> History:
    """A reload with ``config`` was sent."""
    before = history.pushed or {}
    asked = keys(config)
    new = asked - keys(before)
    return dataclasses.replace(
        history,
        in_flight_since=now,
        added={**history.added, **dict.fromkeys(new, now)},
        alive=history.alive - new,
        trying=(history.trying & asked) | new,
        left={**history.left, **dict.fromkeys(set(before) - set(config), now)},
        pushed=config,
    )


def answered(history: History, now: float) -> History:
    """The reload in flight was answered, whatever the answer: what it did is read from GetModelStatus."""
    return dataclasses.replace(history, in_flight_since=None, pushed_at=now)


def doubted(history: History, now: float) -> History:
    """The server refused the reload without applying it: what config it has now isn't known."""
    return dataclasses.replace(history, in_flight_since=None, pushed_at=now, pushed=None)


def asked_anew(history: History, versions: Iterable[Key]) -> History:
    """The config names ``versions`` that it didn't name before: how they failed then holds nobody up now."""
    known = dict(history.failures)
    for key in set(versions) & set(known):
        known[key] = dataclasses.replace(known[key], fingerprint="asked anew")
    return dataclasses.replace(history, failures=known)


def lost(history: History, now: float) -> History:
    """The connection broke with the reload in flight."""
    return dataclasses.replace(doubted(history, now), broken=True)


def suspected(history: History, reason: str) -> History:
    """The server can't be trusted to execute another reload; only a restart helps."""
    return dataclasses.replace(history, suspect=history.suspect or reason)


def blamed(history: History, hung: Iterable[Key], message: str, fingerprints: Mapping[Key, object], now: float) -> History:
    """The server became suspect because of these versions."""
    known = failed.with_failed(history.failures, hung, message, fingerprints, now, failed.HUNG)
    return dataclasses.replace(history, failures=known)


def look(history: History, seen: Seen, fingerprints: Mapping[Key, object], now: float) -> History:
    """Fold one look at the server into ``history``.

    Args:
        fingerprints: Of the files of every version on the volume, by (model, version).
    """
    if seen.is_busy:
        return history
    if not seen.reachable:
        return dataclasses.replace(history, reachable=False)
    if _restarted(history, seen):
        history = _reborn(history, fingerprints, now)
    history = dataclasses.replace(history, reachable=True, broken=False)
    if history.orphaned and _orphan_is_over(history, seen, now):
        history = dataclasses.replace(history, orphaned=frozenset(), in_flight_since=None)
    history = _with_states(history, seen, fingerprints, now)
    if _drifted(history, seen, now):
        history = dataclasses.replace(history, pushed=None)
    return history


def _with_states(history: History, seen: Seen, fingerprints: Mapping[Key, object], now: float) -> History:
    """Take over what the server says of each version."""
    states = {(name, version): found for name, versions in seen.models.items() for version, found in versions.items()}
    history = dataclasses.replace(history, alive=history.alive | {key for key, found in states.items() if found.state in LIVE})
    available = {key for key, found in states.items() if found.state == "AVAILABLE"}
    known = {key: failure for key, failure in history.failures.items() if key not in available}
    ended = {key for key, found in states.items() if _failed(history, *key, found, now)}
    for key in ended:
        known = dict(failed.with_failed(known, [key], states[key].message, fingerprints, now))
    return dataclasses.replace(
        history,
        failures=known,
        trying=history.trying - available - ended,
        doubtful=history.doubtful - available - ended,
        loaded=history.loaded | {name for name, _ in available},
    )


def _reborn(history: History, fingerprints: Mapping[Key, object], now: float) -> History:
    """Return what is left of ``history`` in a new life of the server.

    Failures stay, because the files that caused them did. A version that alone was on its way when the server died is taken
    to be the cause; of several, each may be, and will be tried alone.
    """
    guilty = history.trying if len(history.trying) == 1 and not history.suspect else frozenset()
    message = "the model server died while it was loading"
    known = failed.with_failed(history.failures, guilty, message, fingerprints, now, failed.DIED)
    doubtful = (history.doubtful | history.trying) - guilty
    return History(failures=known, loaded=history.loaded, doubtful=doubtful, pushed={}, pushed_at=now)


def keys(config: Mapping[str, Served]) -> frozenset[Key]:
    """Return all versions in ``config``."""
    return frozenset((name, version) for name, served in config.items() for version in served.versions)


def _orphan_is_over(history: History, seen: Seen, now: float) -> bool:
    """A reload is answered when each name has a version that is AVAILABLE or END; what the server doesn't know it has lost."""
    if now - (history.in_flight_since or 0.0) <= STALE_SECONDS:
        return False
    return all(
        name not in seen.models or any(found.state in {"AVAILABLE", "END"} for found in seen.models[name].values())
        for name in history.orphaned
    )


def _restarted(history: History, seen: Seen) -> bool:
    """Tell whether this is another life: the server knows none of the models it knew, or was away while suspect."""
    if history.suspect and not history.reachable:
        return True
    if history.in_flight_since is not None:
        return False  # a restart breaks the connection, and the reload with it
    if history.broken:
        known = {name for name, _ in history.alive | history.trying}
    else:
        known = {name for name, _ in history.alive} & set(history.pushed or {})
    return bool(known) and not known & set(seen.models)


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
