"""A TCP proxy in front of the API server, which can be slow, be cut, or go silent as a dead network does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self

CHUNK = 1 << 16


class Proxy:
    """Forwards connections to a loopback port, in a thread of its own; ``port`` is where it listens."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._refusing, self._delay = False, 0.0
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}  # by connection, and whether anything gets through
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def freeze(self) -> None:
        """Forward nothing any more on the connections there are, and don't close them either; new ones work."""

        def stop() -> None:
            for flowing in self._open.values():
                flowing.clear()

        self._do(stop)

    def slow(self, seconds: float) -> None:
        """Let everything wait for so long on its way, in both directions."""

        def delay() -> None:
            self._delay = seconds

        self._do(delay)

    def cut(self) -> None:
        """Close all connections, and every new one at once."""

        def close() -> None:
            self._refusing = True
            for writer in self._open:
                writer.transport.abort()

        self._do(close)

    def restore(self) -> None:
        """Take new connections again."""

        def accept() -> None:
            self._refusing = False

        self._do(accept)

    def _do(self, change) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (change(), done.set()))
        done.wait(5)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        flowing = asyncio.Event()
        flowing.set()
        both = {writer: flowing, target_writer: flowing}
        self._open |= both
        try:
            await asyncio.gather(self._forward(reader, target_writer, flowing), self._forward(target_reader, writer, flowing))
        finally:
            for one in both:
                del self._open[one]
                one.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self._delay)
                await flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
