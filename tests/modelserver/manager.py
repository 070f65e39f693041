"""Moves managed versions towards the aspired ones, one step a tick (core/aspired_versions_manager.cc).

The manager itself has no thread and no clock: :meth:`Manager.tick` is called every 100 ms (``server.py``), or by a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from tests.modelserver import log, policy, status
from tests.modelserver.harness import HarnessState, Loader
from tests.modelserver.monitor import ServableId
from tests.modelserver.servables import Servables

TICK_SECONDS = 0.1

_FORGETTABLE = (HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR)


class Manager:
    """Remembers which versions are aspired, and acts on it."""

    def __init__(self, servables: Servables, make_loader: Callable[[ServableId, str], Loader]) -> None:
        self._servables = servables
        self._make_loader = make_loader
        self._aspired: set[ServableId] = set()  # only the tick touches it, under _tick_lock
        self._tick_lock = threading.Lock()
        self._pending_lock = threading.Lock()
        self._pending: dict[str, dict[int, str]] = {}

    def aspire(self, name: str, versions: Sequence[tuple[int, str]]) -> None:
        """Ask for exactly ``versions`` (number, path) of one model; the newest request replaces a pending one.

        Of two directories with the same number ("1", "01") the first wins.
        """
        paths: dict[int, str] = {}
        for version, path in versions:
            paths.setdefault(version, path)
        with self._pending_lock:
            self._pending[name] = paths

    def tick(self) -> None:
        """Forget what is over, take up new requests, and take one step, of all models."""
        self._flush()
        self._take_up_pending()
        self._act()

    def _flush(self) -> None:
        with self._tick_lock:
            for name in self._servables.names():
                for harness in self._servables.harnesses(name):
                    if harness.state in _FORGETTABLE and harness.id not in self._aspired:
                        self._servables.stop_managing(harness.id)

    def _take_up_pending(self) -> None:
        with self._tick_lock, self._pending_lock:
            for name in sorted(self._pending):
                if not self._wants_back_what_is_leaving(name, self._pending[name]):
                    self._take_up(name, self._pending.pop(name))

    def _wants_back_what_is_leaving(self, name: str, versions: dict[int, str]) -> bool:
        """Whether the request has a version that is un-aspired but still managed: then it waits until that is gone.

        With the policy's refusal to unload the last ready version, this is the other half of the wedge: the wait can be
        for ever.
        """
        return any(
            harness.id not in self._aspired and harness.id.version in versions for harness in self._servables.harnesses(name)
        )

    def _take_up(self, name: str, versions: dict[int, str]) -> None:
        for harness in self._servables.harnesses(name):
            if harness.id.version not in versions:
                self._aspired.discard(harness.id)
                self._servables.cancel_retries(harness.id)
        # A version that failed and is still aspired is not an addition: it is never tried again.
        current = {harness.id for harness in self._servables.harnesses(name) if harness.id in self._aspired}
        for version, path in sorted(versions.items()):
            servable_id = ServableId(name, version)
            if servable_id not in current:
                self._aspired.add(servable_id)
                self._servables.manage(servable_id, self._make_loader(servable_id, path))

    def _act(self) -> None:
        with self._tick_lock:
            action = policy.choose([policy.next_action(self._snapshot(name)) for name in self._servables.names()])
            if action is None:
                return
            try:
                if action.kind is policy.Kind.LOAD:
                    self._servables.load(action.id)  # with no load threads the whole load runs here, in the tick
                else:
                    self._servables.unload(action.id)
            except status.StatusError as failure:
                log.error("manager", f"Servable {action.id} cannot be {action.kind.value}ed: {failure}")

    def _snapshot(self, name: str) -> list[policy.Snapshot]:
        return [
            policy.Snapshot(harness.id, harness.state, harness.id in self._aspired) for harness in self._servables.harnesses(name)
        ]
