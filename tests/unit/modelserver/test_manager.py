"""The manager's state machine, tick by tick: no threads, no clock, no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable

from tests.modelserver import executors, manager, monitor, retrier, servables, status
from tests.modelserver.monitor import ServableId, ServableState

BROKEN = status.StatusError(status.Code.NOT_FOUND, "no such model")


class Loader:
    """Fails while its id is among the broken ones."""

    def __init__(self, servable_id: ServableId, broken: set[int]) -> None:
        self._id = servable_id
        self._broken = broken
        self.servable = object()

    def estimate_resources(self) -> None:
        """Nothing to add up."""

    def load(self) -> None:
        """Succeed or fail."""
        if self._id.version in self._broken:
            raise BROKEN

    def unload(self) -> None:
        """Nothing to free."""


class Queue:
    """An executor that runs nothing until it is told to: what load threads look like to the manager."""

    def __init__(self) -> None:
        self._tasks: list[Callable[[], None]] = []

    def schedule(self, task: Callable[[], None]) -> None:
        """Keep the task."""
        self._tasks.append(task)

    def join(self) -> None:
        """Run what is there."""
        while self._tasks:
            self._tasks.pop(0)()


class World:
    """A manager whose loads end when the test says so."""

    def __init__(self, retries: int = 0) -> None:
        self.broken: set[int] = set()
        self.events: list[str] = []
        self.pauses: list[float] = []
        self.on_pause: Callable[[], None] = lambda: None
        self.loads = Queue()
        bus = monitor.EventBus()
        self.states = monitor.StateMonitor(bus)
        bus.subscribe(self._note)
        policy = retrier.RetryPolicy(retries, 5.0, self._pause)
        managed = servables.Servables(bus, policy, self.loads, executors.InlineExecutor())
        self.manager = manager.Manager(managed, lambda servable_id, _: Loader(servable_id, self.broken))

    def _note(self, event: ServableState) -> None:
        error = f":{event.health.code.name}" if event.health else ""
        self.events.append(f"{event.id.version} {event.state.name}{error}")

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()

    def aspire(self, *versions: int) -> None:
        """Ask for versions of the one model."""
        self.manager.aspire("m", [(version, f"/m/{version}") for version in versions])

    def run(self, ticks: int = 10) -> list[str]:
        """Tick, letting every load end before the next tick; return what happened since the last call."""
        for _ in range(ticks):
            self.manager.tick()
            self.loads.join()
        events, self.events = self.events, []
        return events

    def now(self) -> dict[int, str]:
        """Return the states as a client sees them."""
        return {state.id.version: state.state.name for state in self.states.versions("m")}


def test_a_new_version_is_loaded_beside_the_old_one_which_then_goes():
    world = World()
    world.aspire(1)
    assert world.run() == ["1 START", "1 LOADING", "1 AVAILABLE"]
    world.aspire(2)
    assert world.run() == ["2 START", "2 LOADING", "2 AVAILABLE", "1 UNLOADING", "1 END"]


def test_one_action_per_tick_highest_version_first():
    world = World()
    world.aspire(1, 2, 3)
    assert world.run(ticks=1) == ["1 START", "2 START", "3 START", "3 LOADING", "3 AVAILABLE"]
    assert world.run(ticks=1) == ["2 LOADING", "2 AVAILABLE"]
    assert world.run(ticks=1) == ["1 LOADING", "1 AVAILABLE"]
    assert world.run() == []


def test_an_unwanted_version_goes_before_a_wanted_one_comes_if_another_wanted_one_is_ready():
    world = World()
    world.aspire(1, 2)
    world.run()
    world.aspire(2, 3)
    assert world.run() == ["3 START", "1 UNLOADING", "1 END", "3 LOADING", "3 AVAILABLE"]


def test_replacing_the_only_version_by_a_bad_one_leaves_no_way_back():
    world = World()
    world.aspire(1)
    world.run()
    world.broken = {2}
    world.aspire(2)
    assert world.run() == ["2 START", "2 LOADING", "2 END:NOT_FOUND"]
    world.broken = set()
    for versions in ((1,), (1, 3), (2,), (1, 2)):
        world.aspire(*versions)
        assert world.run() == [], versions
    assert world.now() == {1: "AVAILABLE", 2: "END"}
    world.aspire(3)
    assert world.run() == ["3 START", "3 LOADING", "3 AVAILABLE", "1 UNLOADING", "1 END"]
    world.aspire(1, 3)
    assert world.run() == ["1 START", "1 LOADING", "1 AVAILABLE"]


def test_growing_and_shrinking_tries_the_version_again():
    world = World()
    world.aspire(1)
    world.run()
    world.broken = {2}
    world.aspire(1, 2)
    world.run()
    world.broken = set()
    world.aspire(1, 2)
    assert world.run() == []  # a failed version that is still wanted is never tried again
    world.aspire(1)
    assert world.run() == []
    world.aspire(1, 2)
    assert world.run() == ["2 START", "2 LOADING", "2 AVAILABLE"]


def test_requests_between_two_ticks_are_merged():
    world = World()
    world.aspire(1, 2)
    world.run()
    world.aspire(1)
    world.aspire(1, 2)
    assert world.run() == []


def test_nothing_wanted_unloads_everything_one_a_tick():
    world = World()
    world.aspire(1, 2)
    world.run()
    world.aspire()
    assert world.run(ticks=1) == ["1 UNLOADING", "1 END"]
    assert world.run(ticks=1) == ["2 UNLOADING", "2 END"]
    assert world.now() == {2: "END", 1: "END"}


def test_a_version_wanted_back_while_it_leaves_waits_until_it_is_gone():
    world = World()
    world.aspire(1)
    world.run()
    world.aspire()
    world.manager.tick()  # un-aspired and unloaded; it is forgotten by the next tick
    world.aspire(1)
    assert world.run() == ["1 UNLOADING", "1 END", "1 START", "1 LOADING", "1 AVAILABLE"]


def test_errors_are_hidden_until_the_retries_are_used_up():
    world = World(retries=2)
    world.broken = {1}
    seen = []
    world.on_pause = lambda: seen.append(world.now())
    world.aspire(1)
    assert world.run() == ["1 START", "1 LOADING", "1 END:NOT_FOUND"]
    assert world.pauses == [5.0, 5.0]
    assert seen == [{1: "LOADING"}, {1: "LOADING"}]


def test_dropping_a_version_cancels_its_retries_after_one_more_attempt():
    world = World(retries=5)
    world.aspire(1)
    world.run()
    world.broken = {2}

    def drop() -> None:
        world.aspire(1)
        world.manager.tick()

    world.on_pause = drop
    world.aspire(1, 2)
    assert world.run() == ["2 START", "2 LOADING", "2 END:NOT_FOUND"]
    assert len(world.pauses) == 1


def test_a_load_that_succeeds_when_nobody_wants_it_any_more_is_undone():
    world = World(retries=5)
    world.aspire(1)
    world.run()
    world.broken = {2}

    def drop_and_mend() -> None:
        world.aspire(1)
        world.manager.tick()
        world.broken.clear()

    world.on_pause = drop_and_mend
    world.aspire(1, 2)
    assert world.run() == ["2 START", "2 LOADING", "2 END:CANCELLED"]


def test_unloads_of_one_model_go_before_loads_of_another():
    world = World()
    world.manager.aspire("z", [(1, "/z/1")])
    world.run()
    world.manager.aspire("z", [])
    world.manager.aspire("a", [(5, "/a/5")])
    assert world.run(ticks=1) == ["5 START", "1 UNLOADING", "1 END"]
    assert world.run(ticks=1) == ["5 LOADING", "5 AVAILABLE"]
