"""A Kubernetes Service on loopback: new connections go to ready pods, old ones stay where they are."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

LAG_SECONDS = 1.0
"""How long the proxies of a cluster's nodes take to hear that a pod isn't ready any more."""
LOOK_SECONDS = 0.1


def address_of_this_host() -> str:
    """Return an address of this machine that isn't loopback: as in a cluster, clients are hosts of their own to a pod."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


class Service:
    """Forwards each of its ports to the same port of one of its pods, in turn; use it as a context manager.

    Args:
        pods: Each with its ports, in the order of the service's, and a function that tells whether it is ready.
    """

    def __init__(self, host: str, pods: Sequence[tuple[Sequence[int], Callable[[], bool]]]) -> None:
        self.ports: list[int] = []
        self._host, self._pods = host, pods
        self._ready = [False] * len(pods)
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self) -> None:
        for number in range(len(self._pods[0][0])):
            server = await asyncio.start_server(lambda r, w, number=number: self._forward(number, r, w), "127.0.0.1", 0)
            self.ports.append(server.sockets[0].getsockname()[1])
        self._ready = [await asyncio.to_thread(is_ready) for _, is_ready in self._pods]
        self._watching = asyncio.create_task(self._watch())

    async def _stop(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            ready = [await asyncio.to_thread(is_ready) for _, is_ready in self._pods]
            self._loop.call_later(LAG_SECONDS, setattr, self, "_ready", ready)
            await asyncio.sleep(LOOK_SECONDS)

    async def _forward(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = [ports for (ports, _), is_ready in zip(self._pods, self._ready, strict=True) if is_ready]
        with contextlib.closing(writer), contextlib.suppress(OSError, IndexError):
            to_pod, from_us = await asyncio.open_connection(self._host, ready[next(self._turn) % len(ready)][number])
            with contextlib.closing(from_us):
                # The first side that ends, ends both: neither HTTP nor gRPC leaves a connection half open.
                pumps = {asyncio.create_task(_pump(reader, from_us)), asyncio.create_task(_pump(to_pod, writer))}
                _, left = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in left:
                    pump.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
