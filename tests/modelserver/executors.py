"""Threads and locks with the properties the original's behaviour rests on."""

from __future__ import annotations

import collections
import concurrent.futures
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol


class Executor(Protocol):
    """Runs closures, somewhere."""

    def schedule(self, task: Callable[[], None]) -> None:
        """Run ``task`` now or later."""

    def join(self) -> None:
        """Wait until everything scheduled has run; the executor is not used afterwards."""


class InlineExecutor:
    """Runs a task in the caller: what zero load threads mean, with the manager's loop as the caller."""

    def schedule(self, task: Callable[[], None]) -> None:
        """Run ``task`` before returning."""
        task()

    def join(self) -> None:
        """Nothing can be outstanding."""


class ThreadPool:
    """A fixed number of threads; a task that blocks keeps its thread, so others queue."""

    def __init__(self, size: int, name: str) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(size, thread_name_prefix=name)

    def schedule(self, task: Callable[[], None]) -> None:
        """Queue ``task``; an exception it lets through is printed as one of a thread is."""
        self._pool.submit(task).add_done_callback(_report)

    def join(self) -> None:
        """Wait for all queued tasks, retries and hangs included (core/basic_manager.cc SetNumLoadThreads)."""
        self._pool.shutdown(wait=True)


def _report(done: concurrent.futures.Future[None]) -> None:
    if error := done.exception():
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))


def create(threads: int, name: str) -> Executor:
    """Return the executor that ``--num_load_threads`` or ``--num_unload_threads`` stands for."""
    return ThreadPool(threads, name) if threads > 0 else InlineExecutor()


class FifoMutex:
    """A lock that serves waiters in arrival order.

    Abandoned reloads queue on one such lock and run later, one after another, oldest first; ``threading.Lock`` promises
    no order.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiters: collections.deque[threading.Lock] = collections.deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiters.append(turn)
        turn.acquire()  # handed over by the previous holder, which leaves _held set

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with self._guard:
            if self._waiters:
                self._waiters.popleft().release()
            else:
                self._held = False


class PeriodicThread:
    """Calls a function every ``interval`` seconds, start to start, beginning at once; a late call is not made up for.

    Source: tsl's util/periodic_function (used by the manager, the path source and the config file poller).
    """

    def __init__(self, function: Callable[[], None], interval: float, name: str) -> None:
        self._function = function
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            started = time.monotonic()
            self._function()
            self._stopped.wait(max(0.0, self._interval - (time.monotonic() - started)))

    def stop(self) -> None:
        """Stop, waiting for a call under way; harmless from the thread itself."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
