"""What the agent remembers of one model server, folded from what it did (here) and saw (:mod:`tfmodel_agent.looks`).

A model server can't be asked for its config, and its status keeps failures of earlier lives: what was pushed, and when,
is what makes its answers readable. Losing it costs one extra reload.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tfmodel_agent import crashes as blaming
from tfmodel_agent import failures as failed
from tfmodel_agent.failures import Key

POLL_SECONDS = 1.0
"""`--file_system_poll_wait_seconds`: changes closer together than this are one change to the server."""
STALE_SECONDS = POLL_SECONDS + 1.5
"""For so long after a push a version's END may still be that of its previous life (measured: 0.7–1.2 s)."""
LOAD_SECONDS = 600.0
"""How long one load, warmup included, may take before it counts as hung."""

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
        served: What `serving` was at the end of the last life of the server in which clients were sent to it, by model.
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


def asked_anew(history: History, versions: Iterable[Key]) -> History:
    """The config names ``versions`` that it didn't name before: how they failed, or what they did, holds nobody up now."""
    asked = tuple(versions)
    return dataclasses.replace(
        history, failures=failed.forgiven(history.failures, asked), crashes=blaming.pardon(history.crashes, asked)
    )


def suspected(history: History, reason: str) -> History:
    """The server can't be trusted to execute another reload; only a restart helps."""
    return dataclasses.replace(history, suspect=history.suspect or reason)


def keys(config: Mapping[str, Served]) -> frozenset[Key]:
    """Return all versions in ``config``."""
    return frozenset((name, version) for name, served in config.items() for version in served.versions)


def overdue_loads(history: History, now: float) -> list[Key]:
    """Return the versions whose load takes too long."""
    return sorted(key for key, load in history.loading.items() if now - load.since > LOAD_SECONDS)
