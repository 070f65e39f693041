"""Changes in a directory, as the kernel tells them.

Source: Linux, inotify(7). The kubelet changes a mounted ConfigMap by renaming the link `..data` in its directory.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from pathlib import Path

IN_MOVED_TO, IN_CREATE, IN_CLOSE_WRITE = 0x80, 0x100, 0x8
_EVENTS = IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE

log = logging.getLogger(__name__)


class Watch:
    """Sets :attr:`changed` when something in ``directory`` is made, renamed or written.

    Where the kernel has no watch to give (the node's users share a number of them), it is never set, and who waits for it
    has to look by itself now and then.
    """

    def __init__(self, directory: Path) -> None:
        self.changed = asyncio.Event()
        self._descriptor = _watch(directory)
        if self._descriptor is not None:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read, self._descriptor)

    def _read(self, descriptor: int) -> None:
        os.read(descriptor, 1 << 16)
        self.changed.set()

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _watch(directory: Path) -> int | None:
    """Return a descriptor that events can be read from, or None."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor >= 0:
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), _EVENTS) >= 0:
            return descriptor
        os.close(descriptor)
    log.warning("Directory can't be watched", extra={"directory": str(directory), "error": os.strerror(ctypes.get_errno())})
    return None
