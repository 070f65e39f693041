"""One life of a model server: the stand-in's manager, policy and path source, ticked by hand; the loading is played."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.modelserver import monitor, retrier, servables, source, status
from tests.modelserver.harness import HarnessState
from tests.modelserver.manager import Manager
from tests.unit import played_reload
from tests.unit.operator.rollout.simulation.volume import Files, Mount
from tfmodel_agent import history as memory
from tfmodel_serving import model_config

UNLOAD_SECONDS = 0.2
QUIET_TICKS = 25
"""After more than two polls without an event there won't be one, unless the config changes."""
NOTHING = Files(0, complete=False, sound=False)


class Died(BaseException):
    """The process has ended."""


class _Loader:
    def __init__(self, files: Callable[[], Files]) -> None:
        self._files, self.servable = files, object()

    def estimate_resources(self) -> None:
        pass

    def load(self) -> None:
        self.servable = files = self._files()
        if files.deadly == "load":
            raise Died
        if not files.sound:
            raise status.StatusError(status.Code.DATA_LOSS, f"content {files.content} is unsound")

    def unload(self) -> None:
        pass


class _Delayed:
    """An executor whose tasks run when their time has come."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self.seconds = clock, UNLOAD_SECONDS
        self.tasks: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, task: Callable[[], None]) -> None:
        self.tasks.append((self._clock() + self.seconds, task))

    def run_due(self) -> None:
        if self.tasks:
            due = [task for at, task in self.tasks if at <= self._clock()]
            self.tasks = [(at, task) for at, task in self.tasks if at > self._clock()]
            for task in due:
                task()

    def join(self) -> None:
        pass


class _Servables(servables.Servables):
    before_load: Callable[[monitor.ServableId], None]

    def load(self, servable_id: monitor.ServableId) -> None:
        self.before_load(servable_id)
        super().load(servable_id)


class _Source(source.PathSource):
    """Sees the links that the agent made instead of directories."""

    def __init__(self, aspire: Callable[..., None], links: set[tuple[str, int]]) -> None:
        super().__init__(aspire)
        self._links = links

    def poll(self) -> None:
        for model in self._config:
            named = model.model_version_policy.specific.versions
            self._aspire(model.name, [(v, str(v)) for v in named if (model.name, v) in self._links])


class ModelServer:
    """One process. ``labels`` are those of the last reload it took."""

    def __init__(self, mount: Mount, clock: Callable[[], float], links: set[tuple[str, int]]) -> None:
        self._mount, self._clock = mount, clock
        self._bus = monitor.EventBus()
        self._states = monitor.StateMonitor(self._bus)
        self._loads, self._unloads = _Delayed(clock), _Delayed(clock)
        self._managed = _Servables(self._bus, retrier.RetryPolicy(0, 0.0), self._loads, self._unloads)
        self._managed.before_load = self._before_load
        self._manager = Manager(self._managed, lambda servable, _: _Loader(lambda: self._files(servable.version)))
        self._source = _Source(self._manager.aspire, links)
        self._next_poll = clock()
        self._waiting: played_reload.Reload | None = None
        self.labels: dict[str, int] = {}
        self.events = 0
        self._quiet = 0  # ticks since anything happened
        self._available: dict[str, tuple[int, dict[int, Files]]] = {}
        self._bus.subscribe(self._count)

    @property
    def busy(self) -> bool:
        """A reload has not been answered."""
        return self._waiting is not None

    def reload(self, models: Iterable[model_config.Model]) -> None:
        """HandleReloadConfigRequest: waits for one settled version of each new name."""
        assert not self.busy, "a second reload in flight is executed later, as a full replacement"
        models = list(models)
        self._waiting = played_reload.begin(self._bus, self._source, models)
        self._quiet = 0
        self.labels = {label: v for model in models for label, v in model.version_labels.items()}
        self._finish()

    def tick(self) -> None:
        """A tick of the manager, and a poll when it is time; neither does anything once all is quiet."""
        self._quiet += 1
        polls = self._clock() >= self._next_poll
        if polls:
            self._next_poll += memory.POLL_SECONDS
        if self._quiet > QUIET_TICKS and not self._loads.tasks and not self._unloads.tasks:
            return
        if polls:
            self._source.poll()
        self._manager.tick()
        self._loads.run_due()
        self._unloads.run_due()
        self._finish()

    def look(self, names: set[str]) -> memory.Seen:
        return played_reload.seen(self._states, names)

    def available(self, name: str) -> dict[int, Files]:
        """What a request for model ``name`` can reach."""
        at, known = self._available.get(name, (-1, {}))
        if at != self.events:
            ready = (harness for harness in self._managed.harnesses(name) if harness.state is HarnessState.READY)
            known = {harness.id.version: harness.loader.servable for harness in ready}  # type: ignore[misc]
            self._available[name] = (self.events, known)
        return known

    def _files(self, version: int) -> Files:
        return self._mount.at(self._clock()).get(version, NOTHING)

    def _before_load(self, servable_id: monitor.ServableId) -> None:
        self._loads.seconds = self._files(servable_id.version).load_seconds

    def _count(self, _: monitor.ServableState) -> None:
        self.events += 1
        self._quiet = 0

    def _finish(self) -> None:
        if self._waiting is not None and self._waiting.is_answered():
            self._waiting = None
