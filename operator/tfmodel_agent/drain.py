"""Draining: what the model server's preStop hook waits for.

The server has no graceful stop (model_servers/main.cc installs no handler) and no count of requests in flight, but the
pod's containers share a network: a server without client connections has nothing in flight. REST clients close theirs or
leave them idle; gRPC clients are sent away by `grpc.max_connection_age_ms`, which the planner keeps below the drain's time.

Source: Linux, Documentation/networking/proc_net_tcp.rst.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable
from pathlib import Path

SETTLE_SECONDS = 3.0
"""How long endpoints take to leave all nodes' proxies; a server is never called drained before."""
LOOK_SECONDS = 0.2
UNDO_SECONDS = 60.0
"""A drain that no termination follows was not the kubelet's: the pod becomes ready again."""
ESTABLISHED = "01"
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

log = logging.getLogger(__name__)


class Drain:
    """The drain of one pod; :attr:`active` takes the pod out of its Services."""

    def __init__(self, ports: Collection[int], seconds: float) -> None:
        self._ports = ports
        self._seconds = seconds
        self._until = float("-inf")

    @property
    def active(self) -> bool:
        return time.monotonic() < self._until

    async def run(self) -> int:
        """Start draining; return the number of client connections left, when there is none or the time is up."""
        begin = time.monotonic()
        self._until = begin + self._seconds + UNDO_SECONDS
        log.info("Draining", extra={"at_most_seconds": self._seconds})
        while True:
            left = client_connections(self._ports)
            passed = time.monotonic() - begin
            if (not left and passed >= min(SETTLE_SECONDS, self._seconds)) or passed >= self._seconds:
                log.info("Drained", extra={"seconds": round(passed, 1), "connections_left": left})
                return left
            await asyncio.sleep(LOOK_SECONDS)


def client_connections(ports: Collection[int], tables: Iterable[Path] = TABLES) -> int:
    """Return how many established connections from other hosts lead to one of ``ports`` of this pod."""
    count = 0
    for table in tables:
        with contextlib.suppress(FileNotFoundError):  # no IPv6
            for line in table.read_text().splitlines()[1:]:
                _, local, remote, state = line.split()[:4]
                count += state == ESTABLISHED and int(local.rpartition(":")[2], 16) in ports and not _is_loopback(remote)
    return count


def _is_loopback(address: str) -> bool:
    """Tell whether an address of these tables (hexadecimal, in words of the machine's byte order) is the pod itself."""
    host = address.rpartition(":")[0]
    v4 = host if len(host) == 8 else host[24:] if host.startswith("0" * 16 + "FFFF0000") else ""
    return v4.endswith("7F") if v4 else host == "0" * 24 + "01000000"
