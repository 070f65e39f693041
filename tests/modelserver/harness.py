"""The life of one loaded version: a small state machine around its loader (core/loader_harness.cc)."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import Protocol

from tests.modelserver import log, retrier, status
from tests.modelserver.monitor import ServableId


class Loader(Protocol):
    """Knows how to load one version from disk and how to drop it again."""

    def estimate_resources(self) -> None:
        """Read the version's size on disk; raises StatusError if that cannot be done."""

    def load(self) -> None:
        """Load the version, warm-up included; raises StatusError."""

    def unload(self) -> None:
        """Free what :meth:`load` made."""

    @property
    def servable(self) -> object:
        """The loaded model; only while loaded."""


class HarnessState(enum.Enum):
    """Finer than what model status shows."""

    NEW = "new"
    LOAD_REQUESTED = "load-requested"
    LOAD_APPROVED = "load-approved"
    LOADING = "loading"
    READY = "ready"
    UNLOAD_REQUESTED = "unload-requested"
    QUIESCING = "quiescing"
    QUIESCED = "quiesced"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


class Harness:
    """Holds a loader and its state. Each method is one transition; a wrong order is an internal error, as upstream."""

    def __init__(
        self,
        servable_id: ServableId,
        loader: Loader,
        policy: retrier.RetryPolicy,
        on_error: Callable[[ServableId, status.StatusError], None],
    ) -> None:
        self.id = servable_id
        self.loader = loader
        self.error: status.StatusError | None = None
        self._policy = policy
        self._on_error = on_error
        self._lock = threading.Lock()
        self._state = HarnessState.NEW
        self._wanted = True

    @property
    def state(self) -> HarnessState:
        """The current state."""
        with self._lock:
            return self._state

    def request_load(self) -> None:
        """NEW → LOAD_REQUESTED."""
        with self._lock:
            if self._state is not HarnessState.NEW:
                raise status.StatusError(status.Code.FAILED_PRECONDITION, "Duplicate load request")
            self._state = HarnessState.LOAD_REQUESTED

    def approve_load(self) -> None:
        """LOAD_REQUESTED → LOAD_APPROVED: resources are reserved."""
        self._move(HarnessState.LOAD_REQUESTED, HarnessState.LOAD_APPROVED)
        log.info("harness", f"Approving load for servable version {self.id}")

    def load(self) -> None:
        """LOAD_APPROVED → LOADING → READY, or ERROR after the last retry.

        A load that succeeds although it is no longer wanted is undone and reported as CANCELLED.
        """
        self._move(HarnessState.LOAD_APPROVED, HarnessState.LOADING)
        log.info("harness", f"Loading servable version {self.id}")
        try:
            retrier.retry(f"Loading servable: {self.id}", self._policy, self.loader.load, self.load_is_wanted)
        except status.StatusError as failure:
            self.fail(failure)
            raise
        if not self.load_is_wanted():
            self._unload_from(HarnessState.LOADING)
            cancelled = status.StatusError(status.Code.CANCELLED, "Loading of servable cancelled")
            self._on_error(self.id, cancelled)
            raise cancelled
        self._move(HarnessState.LOADING, HarnessState.READY)
        log.info("harness", f"Successfully loaded servable version {self.id}")

    def cancel_retries(self) -> None:
        """Ask a load under way to stop at its next failure."""
        with self._lock:
            self._wanted = False

    def load_is_wanted(self) -> bool:
        """Whether retries go on."""
        with self._lock:
            return self._wanted

    def request_unload(self) -> None:
        """READY → UNLOAD_REQUESTED."""
        with self._lock:
            if self._state is not HarnessState.READY:
                raise status.StatusError(
                    status.Code.FAILED_PRECONDITION, "Servable not loaded, or unload already requested/ongoing"
                )
            self._state = HarnessState.UNLOAD_REQUESTED

    def start_quiescing(self) -> None:
        """UNLOAD_REQUESTED → QUIESCING: no new requests."""
        self._move(HarnessState.UNLOAD_REQUESTED, HarnessState.QUIESCING)
        log.info("harness", f"Quiescing servable version {self.id}")

    def done_quiescing(self) -> None:
        """QUIESCING → QUIESCED: no request holds it any more."""
        self._move(HarnessState.QUIESCING, HarnessState.QUIESCED)
        log.info("harness", f"Done quiescing servable version {self.id}")

    def unload(self) -> None:
        """QUIESCED → UNLOADING → DISABLED."""
        self._unload_from(HarnessState.QUIESCED)

    def _unload_from(self, state: HarnessState) -> None:
        self._move(state, HarnessState.UNLOADING)
        log.info("harness", f"Unloading just-loaded servable version {self.id}")
        self.loader.unload()
        self._move(HarnessState.UNLOADING, HarnessState.DISABLED)
        log.info("harness", f"Done unloading servable version {self.id}")

    def fail(self, error: status.StatusError) -> None:
        """Any state → ERROR, for good: nothing leads out of it but being dropped by the manager."""
        with self._lock:
            self._state = HarnessState.ERROR
            self.error = error
        self._on_error(self.id, error)
        log.info("harness", f"Encountered an error for servable version {self.id}: {error}")

    def _move(self, before: HarnessState, after: HarnessState) -> None:
        with self._lock:
            if self._state is before:
                self._state = after
                return
            found = self._state
        error = status.StatusError(
            status.Code.INTERNAL, f"Illegal request to transition from state {found.value} to {after.value}"
        )
        self.fail(error)
        raise error
