"""Work that may take its time, or hang on a volume for ever, away from the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def start(do: Callable[[], T]) -> asyncio.Future[T]:
    """Run ``do`` in a thread of its own, for which the end of the process does not wait; return its result to be."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = do()
        except BaseException as error:  # noqa: BLE001 it is raised again where the result is awaited
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return asyncio.wrap_future(future)
