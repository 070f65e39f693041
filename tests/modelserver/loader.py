"""Loads one version of a model: size estimate, SavedModel, warm-up.

Sources: servables/tensorflow/saved_model_bundle_source_adapter.cc, saved_model_bundle_factory.cc, util.cc.
"""

# os.path answers as access(2) does, where pathlib raises for what may not be looked at:
# ruff: noqa: PTH110, PTH112, PTH116, PTH208
from __future__ import annotations

import _thread
import dataclasses
import os
import threading
import time
from typing import Any

from tests.modelserver import batching, log, metrics, status, warmup
from tests.modelserver.bundle import Bundle
from tests.modelserver.monitor import ServableId

_PROBING_THREADS = 256


@dataclasses.dataclass(frozen=True)
class LoaderOptions:
    """What the flags say about loading; the same for every model."""

    tags: tuple[str, ...]
    session_config: bytes
    batching: Any | None
    per_model_batching: bool
    warmup: bool
    warmup_iterations: int


class SavedModelLoader:
    """Makes a :class:`Bundle` of a version directory."""

    def __init__(self, options: LoaderOptions, servable_id: ServableId, path: str) -> None:
        self._options = options
        self._id = servable_id
        self._path = path
        self._bundle: Bundle | None = None

    @property
    def servable(self) -> Bundle:
        """The loaded model."""
        if self._bundle is None:
            raise RuntimeError(f"{self._id} is not loaded")
        return self._bundle

    def estimate_resources(self) -> None:
        """Add up the sizes of all files: only whether that works matters."""
        if not os.path.exists(self._path):
            raise status.StatusError(status.Code.NOT_FOUND, f"{self._path} not found")
        directories = [self._path]
        while directories:
            directories.extend(_probe(directories.pop(0)))

    def load(self) -> None:
        """Load and warm up; on an error after the load the model is dropped again."""
        started = time.monotonic()
        bundle = self._load_bundle()
        metrics.load_latency.increment(int((time.monotonic() - started) * 1e6), self._path)
        try:
            options = self._options
            bundle.limits = batching.limits_for(self._path, options.batching, options.per_model_batching)
            if options.warmup:
                warmup.run(self._path, bundle, options.warmup_iterations)
        except status.StatusError:
            bundle.close()
            raise
        self._bundle = bundle

    def _load_bundle(self) -> Bundle:
        outcome = "fail"
        try:
            bundle = Bundle(self._path, self._options.tags, self._options.session_config)
            outcome = "success"
            return bundle
        finally:
            metrics.load_attempt_count.increment(1, self._path, outcome)

    def unload(self) -> None:
        """Free the model."""
        self.servable.close()
        self._bundle = None


def _probe(directory: str) -> list[str]:
    """Return the directories in ``directory`` after asking every other entry for its size.

    The original starts a pool of 256 threads for *each* directory. So does this: it costs a few milliseconds, and where
    a limit on processes forbids it (RLIMIT_NPROC, a pids cgroup) the server aborts on its first load, as it would.
    """
    try:
        entries = sorted(os.listdir(directory))
    except OSError as error:
        raise status.from_os_error(directory, error) from error
    go = threading.Event()
    finished = threading.Semaphore(0)

    def wait() -> None:
        go.wait()
        finished.release()

    try:
        for _ in range(_PROBING_THREADS):
            _thread.start_new_thread(wait, ())
    except RuntimeError as error:
        log.fatal("loader", f"Check failed: ret == 0 Thread ModelDiskSizePool creation via pthread_create() failed: {error}")
    children = []
    try:
        for entry in entries:
            path = os.path.join(directory, entry)
            if os.path.isdir(path):
                children.append(path)
            else:
                _size(path)
    finally:
        go.set()
        for _ in range(_PROBING_THREADS):
            finished.acquire()
    return children


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise status.from_os_error(path, error) from error
