"""Servable states, the bus they are published on, and the monitor that remembers and waits for them.

Sources: core/servable_state.h, util/event_bus.h, core/servable_state_monitor.cc.
"""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.modelserver import status


class ServableId(NamedTuple):
    """One version of one model."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


class State(enum.IntEnum):
    """The manager's states; numbers as in apis/get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class ServableState:
    """What the bus carries: END with no error means unloaded, with one it means the load failed."""

    id: ServableId
    state: State
    health: status.StatusError | None = None


class EventBus:
    """Delivers every event to every subscriber, in order, on the publisher's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[ServableState], None]] = []

    def subscribe(self, callback: Callable[[ServableState], None]) -> None:
        """Deliver all later events to ``callback``."""
        with self._lock:
            self._subscribers.append(callback)

    def unsubscribe(self, callback: Callable[[ServableState], None]) -> None:
        """Deliver nothing more to ``callback``."""
        with self._lock:
            self._subscribers.remove(callback)

    def publish(self, event: ServableState) -> None:
        """Deliver ``event``; subscribers must be quick and must not use the bus."""
        with self._lock:
            for subscriber in self._subscribers:
                subscriber(event)


class StateMonitor:
    """Remembers the last state of every version it heard of, for ever.

    A removed model therefore stays visible as END. ReloadConfig waits on a *fresh* monitor, which knows only what happens
    after the call began; that it then takes the END of a model's previous life for the outcome of the new one is where
    ``UNKNOWN … did not become available`` without a cause comes from.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, ServableState]] = {}
        bus.subscribe(self._on_event)

    def close(self) -> None:
        """Stop listening."""
        self._bus.unsubscribe(self._on_event)

    def _on_event(self, event: ServableState) -> None:
        with self._changed:
            self._states.setdefault(event.id.name, {})[event.id.version] = event
            self._changed.notify_all()

    def state(self, servable: ServableId) -> ServableState | None:
        """Return the last state of one version."""
        with self._changed:
            return self._states.get(servable.name, {}).get(servable.version)

    def versions(self, name: str) -> list[ServableState]:
        """Return the last states of all versions of a model, highest version first."""
        with self._changed:
            return self._by_version(name)

    def _by_version(self, name: str) -> list[ServableState]:
        states = self._states.get(name, {})
        return [states[version] for version in sorted(states, reverse=True)]

    def wait_until_settled(self, names: Iterable[str]) -> list[ServableState]:
        """Wait, for ever if need be, until each model has a version that is AVAILABLE or END.

        Returns:
            Per model the *highest* settled version, which alone decides: a bad version that fails first hides a good lower
            one that is still loading.
        """
        wanted = sorted(set(names))
        with self._changed:
            while True:
                settled = [self._settled(name) for name in wanted]
                if all(state is not None for state in settled):
                    return [state for state in settled if state is not None]
                self._changed.wait()

    def _settled(self, name: str) -> ServableState | None:
        return next((s for s in self._by_version(name) if s.state in (State.AVAILABLE, State.END)), None)


def failure_text(settled: Iterable[ServableState], monitor: StateMonitor, what: str) -> str | None:
    """Return ``1 model(s) did not become available: {…}`` for what is not AVAILABLE, or None.

    Args:
        what: ``model(s)`` in a reload (model_servers/server_core.cc), ``servable(s)`` at start
            (core/load_servables_fast.cc).
    """
    failed = [state for state in settled if state.state is not State.AVAILABLE]
    if not failed:
        return None
    parts = []
    for failure in failed:
        latest = monitor.state(failure.id)  # asked again: it may have moved on since
        cause = f" due to error: {latest.health}" if latest and latest.health else ""
        parts.append(f"{{{failure.id}{cause}}}, ")
    return f"{len(failed)} {what} did not become available: {{{''.join(parts)}}}"
