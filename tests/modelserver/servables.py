"""Loads and unloads versions, and keeps the list of those it manages (core/basic_manager.cc).

Two locks matter to what users see. ``_mutex`` guards the list and is held *while resources are estimated, retries
included*, so an unreadable version stops every transition. The decision lock makes those estimates one at a time. Neither
is taken by a request or a status call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.modelserver import executors, log, retrier, serving_map, status
from tests.modelserver.harness import Harness, HarnessState, Loader
from tests.modelserver.monitor import EventBus, ServableId, ServableState, State


class Servables:
    """The managed versions of all models.

    Args:
        load_executor, unload_executor: Where loads and unloads run; inline means on the caller's thread, in
            production the manager's tick.
    """

    def __init__(
        self,
        bus: EventBus,
        policy: retrier.RetryPolicy,
        load_executor: executors.Executor,
        unload_executor: executors.Executor,
    ) -> None:
        self.serving = serving_map.ServingMap()
        self._bus = bus
        self._policy = policy
        self._mutex = threading.RLock()
        self._decision = threading.Lock()
        self._managed: dict[str, dict[int, Harness]] = {}
        self._load_executor_lock = threading.Lock()
        self._load_executor = load_executor
        self._unload_executor = unload_executor

    def names(self) -> list[str]:
        """Return the models with a managed version, in order."""
        with self._mutex:
            return sorted(name for name, versions in self._managed.items() if versions)

    def harnesses(self, name: str) -> list[Harness]:
        """Return one model's managed versions, lowest first."""
        with self._mutex:
            versions = self._managed.get(name, {})
            return [versions[version] for version in sorted(versions)]

    def manage(self, servable_id: ServableId, loader: Loader) -> None:
        """Start to manage a version: START."""
        with self._mutex:
            versions = self._managed.setdefault(servable_id.name, {})
            if servable_id.version in versions:
                raise status.StatusError(
                    status.Code.FAILED_PRECONDITION, f"This servable is already being managed: {servable_id}"
                )
            versions[servable_id.version] = Harness(servable_id, loader, self._policy, self._publish_end)
            self._publish(servable_id, State.START)

    def stop_managing(self, servable_id: ServableId) -> None:
        """Forget a version that is new, disabled or failed; its last state stays with the monitor."""
        with self._mutex:
            del self._managed[servable_id.name][servable_id.version]

    def cancel_retries(self, servable_id: ServableId) -> None:
        """Let a failing load end at its next failure."""
        with self._mutex:
            harness = self._managed.get(servable_id.name, {}).get(servable_id.version)
            if harness and not harness.error:
                harness.cancel_retries()

    def set_load_executor(self, executor: executors.Executor) -> None:
        """Swap the load threads, waiting for every load already queued on the old ones, retries included.

        The initial load has its own, larger pool; so a slow second version can hold back the opening of the ports.
        """
        with self._load_executor_lock:
            previous, self._load_executor = self._load_executor, executor
        previous.join()

    def load(self, servable_id: ServableId) -> None:
        """Queue a load."""
        self._request(servable_id, Harness.request_load)
        with self._load_executor_lock:
            executor = self._load_executor
        executor.schedule(lambda: self._attempt(servable_id, "loaded", self._load))

    def unload(self, servable_id: ServableId) -> None:
        """Queue an unload."""
        self._request(servable_id, Harness.request_unload)
        self._unload_executor.schedule(lambda: self._attempt(servable_id, "unloaded", self._unload))

    def _request(self, servable_id: ServableId, transition: Callable[[Harness], None]) -> None:
        with self._mutex:
            transition(self._healthy(servable_id))

    def _attempt(self, servable_id: ServableId, done: str, step: Callable[[ServableId], None]) -> None:
        try:
            step(servable_id)
        except status.StatusError as failure:
            log.error("servables", f"Servable {servable_id} cannot be {done}: {failure}")

    def _healthy(self, servable_id: ServableId) -> Harness:
        harness = self._managed.get(servable_id.name, {}).get(servable_id.version)
        if harness is None:
            raise status.StatusError(status.Code.NOT_FOUND, f"This servable is not being managed by the manager: {servable_id}")
        if harness.error:
            raise harness.error
        return harness

    def _load(self, servable_id: ServableId) -> None:
        with self._decision, self._mutex:
            harness = self._healthy(servable_id)
            self._reserve_resources(harness)
            harness.approve_load()
        self._publish(servable_id, State.LOADING)
        harness.load()
        with self._mutex:
            self._update_serving_map()
        self._publish(servable_id, State.AVAILABLE)

    def _reserve_resources(self, harness: Harness) -> None:
        # Memory is never short (the limit is 2^64-1), but the estimate reads the directory and that can fail.
        try:
            retrier.retry(
                f"Reserving resources for servable: {harness.id}",
                self._policy,
                harness.loader.estimate_resources,
                harness.load_is_wanted,
            )
        except status.StatusError as failure:
            error = status.StatusError(
                failure.code,
                f"Error while attempting to reserve resources to load servable {harness.id}: {failure.message}",
            )
            log.warning("servables", str(error))
            harness.fail(error)
            raise error from failure
        log.info("servables", f"Successfully reserved resources to load servable {harness.id}")

    def _unload(self, servable_id: ServableId) -> None:
        with self._decision, self._mutex:
            harness = self._healthy(servable_id)
            harness.start_quiescing()
        with self._mutex:
            self._publish(servable_id, State.UNLOADING)
            self._update_serving_map()
            harness.done_quiescing()
        harness.unload()
        self._publish(servable_id, State.END)

    def _update_serving_map(self) -> None:
        self.serving.update(
            harness for versions in self._managed.values() for harness in versions.values() if harness.state is HarnessState.READY
        )

    def _publish(self, servable_id: ServableId, state: State) -> None:
        self._bus.publish(ServableState(servable_id, state))

    def _publish_end(self, servable_id: ServableId, error: status.StatusError) -> None:
        self._bus.publish(ServableState(servable_id, State.END, error))
