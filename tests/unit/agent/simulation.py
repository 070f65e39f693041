"""The agent's steps against the model server's own state machine, in virtual time and without TensorFlow.

The server is the stand-in's manager and path source (tests/modelserver), ticked by hand; what is played is only the
loading, which takes a while and succeeds or fails as the version's files say.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

from tests.modelserver import monitor, retrier, servables, source, status
from tests.modelserver.manager import TICK_SECONDS, Manager
from tests.unit import played_reload
from tfmodel_agent import history as memory
from tfmodel_agent import journal, looks, readiness, steps, view
from tfmodel_serving import agent_config, model_config, saved_model

LOAD_SECONDS = 0.35
LOOK_SECONDS = 0.2
CANDIDATE = "--candidate"
DEADLY, HANGING = "kills the server", "loads for ever"
AWAY_SECONDS = 2.0
"""How long a server is away that has died, or that the kubelet has killed because it was suspect."""
SETTLE_SECONDS = 1.0
"""A version is verified by an agent's second look at its files."""


@dataclasses.dataclass
class Volume:
    """Version directories by base path: number to (content, sound). Content names the files, as a fingerprint does.

    Those that are not sound fail to load, or do what :data:`DEADLY` or :data:`HANGING` says. A model and its candidate have
    one base path.

    Args:
        deadly: Versions that kill the server whatever their files are.
    """

    root: Path
    versions: dict[str, dict[int, tuple[str, bool | str]]] = dataclasses.field(default_factory=dict)
    deadly: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    written_until: dict[tuple[str, int], float] = dataclasses.field(default_factory=dict)

    def of(self, name: str) -> dict[int, tuple[str, bool | str]]:
        """Return what there is for a model."""
        return self.versions.setdefault(base(name), {})

    def put(self, name: str, version: int, content: str, sound: bool | str) -> None:
        self.of(name)[version] = (content, sound)

    def touch(self, name: str, version: int, until: float) -> None:
        """Write to the files of a version; an agent finds them changing until then."""
        if version in self.of(name):
            content, sound = self.of(name)[version]
            self.of(name)[version] = (f"{content}, touched", sound)
            self.written_until[base(name), version] = until

    def remove(self, name: str, version: int) -> None:
        self.of(name).pop(version, None)


def base(name: str) -> str:
    """Return the last part of a model's base path."""
    return name.removesuffix(CANDIDATE)


class _Died(BaseException):
    """The server's process has ended."""


class _Hangs(BaseException):
    """The load never ends; its thread does nothing else any more."""


class _Loader:
    def __init__(self, volume: Volume, servable: monitor.ServableId) -> None:
        self._volume, self._id, self.servable = volume, servable, object()

    def estimate_resources(self) -> None:
        pass

    def load(self) -> None:
        _, sound = self._volume.of(self._id.name).get(self._id.version, ("", False))
        if sound == DEADLY or (self._id.name, self._id.version) in self._volume.deadly:
            raise _Died
        if sound == HANGING:
            raise _Hangs
        if not sound:
            raise status.StatusError(status.Code.DATA_LOSS, "unsound")

    def unload(self) -> None:
        pass


class _Delayed:
    """An executor whose tasks run when their time has come."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tasks: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, task: Callable[[], None]) -> None:
        self._tasks.append((self._clock() + LOAD_SECONDS, task))

    def run_due(self) -> None:
        due = [task for at, task in self._tasks if at <= self._clock()]
        self._tasks = [(at, task) for at, task in self._tasks if at > self._clock()]
        for task in due:
            with contextlib.suppress(_Hangs):
                task()

    def join(self) -> None:
        pass


class Server:
    """One life of a model server."""

    def __init__(self, volume: Volume, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bus = monitor.EventBus()
        self.states = monitor.StateMonitor(self._bus)
        self._loads, self._unloads = _Delayed(clock), _Delayed(clock)
        managed = servables.Servables(self._bus, retrier.RetryPolicy(0, 0.0), self._loads, self._unloads)
        self._manager = Manager(managed, lambda servable, path: _Loader(volume, servable))
        self._source = source.PathSource(self._manager.aspire)
        self._next_poll = clock()
        self._waiting: played_reload.Reload | None = None

    @property
    def busy(self) -> bool:
        """A reload has not been answered."""
        return self._waiting is not None

    @property
    def names(self) -> set[str]:
        """The models of its config."""
        return self._source.names()

    def reload(self, models: list[model_config.Model]) -> None:
        """HandleReloadConfigRequest: waits for one settled version of each new name."""
        assert not self.busy, "a second reload in flight is executed later, as a full replacement"
        self._waiting = played_reload.begin(self._bus, self._source, models)
        self._finish()

    def tick(self) -> None:
        if self._clock() >= self._next_poll:
            self._next_poll += memory.POLL_SECONDS
            self._source.poll()
        self._manager.tick()
        self._loads.run_due()
        self._unloads.run_due()
        self._finish()

    def skip(self) -> None:
        """The clock has leapt."""
        self._next_poll = self._clock()

    def look(self, names: set[str]) -> memory.Seen:
        return played_reload.seen(self.states, names)

    def available(self, name: str) -> set[int]:
        return {one.id.version for one in self.states.versions(name) if one.state is monitor.State.AVAILABLE}

    def _finish(self) -> None:
        if self._waiting is not None and self._waiting.is_answered():
            self._waiting = None


class World:
    """A volume, a server and an agent, with a clock of their own.

    Args:
        has_kubelet: A server that the agent calls suspect is killed and started again.
        mode: What readiness is about.

    ``models`` is what is desired; change it at any time.
    """

    def __init__(
        self,
        root: Path,
        *,
        has_kubelet: bool = True,
        mode: agent_config.Readiness = agent_config.Readiness.PER_MODEL,
    ) -> None:
        self._mode = mode
        self._has_kubelet = has_kubelet
        self.now = 100.0
        self.volume = Volume(root)
        self.view = view.View(root / "view")
        self.models: dict[str, model_config.Model] = {}
        self.left: dict[str, float] = {}
        self.server: Server | None = Server(self.volume, lambda: self.now)
        self.history = memory.History()
        self.asked: Server | None = None  # which server has our reload in flight
        self.step = steps.Step("")
        self.is_ready = False
        self.trace: list[str] = []
        self.died_at: list[float] = []
        self._next_look = self._verifies_from = self._back_at = self.now

    def run(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """Let time pass."""
        for _ in range(round(seconds / TICK_SECONDS)):
            self.now = round(self.now + TICK_SECONDS, 3)
            self._run_server()
            if self.now >= self._next_look:
                self._next_look = self.now + LOOK_SECONDS
                self._agent()
            check()

    @property
    def deaths(self) -> int:
        return len(self.died_at)

    def skip(self, seconds: float) -> None:
        """Let time pass in one leap, for times in which nothing happens but waiting."""
        self.now = self._next_look = self.now + seconds
        if self.server is not None:
            self.server.skip()
        self.run(0.1)

    def _run_server(self) -> None:
        if self.server is None:
            if self.now >= self._back_at:
                self.server = Server(self.volume, lambda: self.now)
            return
        try:
            self.server.tick()
        except _Died:
            self.died_at.append(self.now)
        else:
            if not (self.step.suspect and self._has_kubelet):
                return
        self.server, self._back_at = None, self.now + AWAY_SECONDS

    def restart_server(self, away: float) -> None:
        """Kill the server; another one is there after ``away`` seconds."""
        self.server, self._back_at = None, self.now + away
        self.run(away)

    def restart_agent(self) -> None:
        """The agent knows no more than its journal; a reload it had in flight goes on in the server."""
        self.history, self.asked = journal.from_json(journal.to_json(self.history), self.now), None
        self._verifies_from = self.now + SETTLE_SECONDS

    def rogue_reload(self, versions: set[int]) -> None:
        """Somebody else has the server serve these versions of what it serves, or as many as it was ever shown, or nothing.

        No new names: such a reload would be waited for, and ours behind it, which is not played here.
        """
        if self.server is None or self.server.busy:
            return
        models = []
        for name in self.server.names:
            folder = Path(self.view.base_path(name))
            shown = {int(path.name) for path in folder.iterdir()} & versions if folder.is_dir() else set()
            if shown:
                models.append(model_config.Model(name, str(folder), model_config.Specific(tuple(sorted(shown)))))
        self.server.reload(models)

    def wanted(self) -> list[steps.Wanted]:
        return [self._wanted(model) for model in self.models.values()]

    def _wanted(self, model: model_config.Model) -> steps.Wanted:
        versions = self.volume.of(model.name)
        findings = {version: self._finding(model.name, version) for version in versions}
        return steps.Wanted(model, findings, {version: content for version, (content, _) in versions.items()})

    def _finding(self, name: str, version: int) -> saved_model.Finding:
        still_since = max(self._verifies_from, self.volume.written_until.get((base(name), version), 0.0))
        return saved_model.Finding(saved_model.Verdict.INCOMPLETE if self.now < still_since else saved_model.Verdict.VERIFIED)

    def _agent(self) -> None:
        wanted = self.wanted()
        marks = {(one.model.name, v): mark for one in wanted for v, mark in one.fingerprints.items()}
        if self.asked is not None and (self.server is not self.asked or not self.asked.busy):
            done = memory.answered if self.server is self.asked else memory.broken  # a killed server breaks the connection
            self.history, self.asked = done(self.history, self.now), None
        names = set(self.models) | self.history.names
        seen = self.server.look(names) if self.server is not None else memory.Seen(message="UNAVAILABLE")
        self.history = looks.fold(self.history, seen, marks, self.now)
        self.history = dataclasses.replace(self.history, is_fed=readiness.is_fed(wanted, seen, self.history, self.now, self._mode))
        self.is_ready = readiness.is_ready(self._mode, wanted, seen, self.history)
        self.step = steps.next_step(wanted, seen, self.history, self.now)
        if self.step.suspect and not self.history.suspect:
            self.history = memory.suspected(self.history, self.step.suspect)
        if self.step.push is None or self.server is None:
            return
        self.trace.append(f"{self.now:.1f} {self.step.reason}")
        for name, served in self.step.push.items():
            assert served.versions, f"{name}: `specific` without versions unloads everything, and hangs a reload that adds it"
            for version in served.versions:
                self.view.link(name, version, str(self.volume.root / base(name) / str(version)))
        self.history = memory.sent(self.history, self.step.push, self.now, marks)
        self.asked = self.server
        self.server.reload(
            [
                model_config.Model(name, self.view.base_path(name), model_config.Specific(tuple(served.versions)))
                for name, served in self.step.push.items()
            ]
        )
