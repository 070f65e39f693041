"""An HTTP/1.1 server with the threading of the original's: one event loop and a pool, out of one allowance.

``--rest_api_num_threads`` counts the loop as well (util/net_http/server/internal/evhttp_server.cc). With 1 a connection is
accepted, its request is read, and nobody is left to answer it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

from tests.modelserver import executors, http_wire, log, rest


class HttpServer:
    """Serves one :class:`rest.RestApi` on one port, on IPv6 and IPv4 (or IPv4 alone where there is no IPv6).

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(self, port: int, threads: int, api: rest.RestApi) -> None:
        self._api = api
        self._workers = executors.ThreadPool(threads - 1, "rest") if threads > 1 else None
        self._socket = _listen(port)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, name="rest-loop", daemon=True).start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            self._loop.create_server(lambda: _Connection(self._api, self._dispatch), sock=self._socket, backlog=128)
        )
        self._loop.run_forever()

    def _dispatch(self, request: rest.Request, reply: Callable[[rest.Response], None]) -> None:
        if self._workers is None:
            return  # the request waits for a thread for ever

        def work() -> None:
            response = http_wire.error_page(500)
            try:
                response = self._api.answer(request)
            finally:
                self._loop.call_soon_threadsafe(reply, response)

        self._workers.schedule(work)


def _listen(port: int) -> socket.socket:
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # no such family on this machine
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((address, port))
        except OSError as error:
            listener.close()
            if family == socket.AF_INET:
                raise
            log.warning("http_server", f"cannot bind [::]:{port}: {error}; trying IPv4")
            continue
        listener.listen(128)
        listener.setblocking(False)
        return listener
    raise OSError(f"Couldn't bind to port {port}")


class _Connection(asyncio.Protocol):
    """One client connection: requests are answered one after another, in order."""

    def __init__(self, api: rest.RestApi, dispatch: Callable[[rest.Request, Callable[[rest.Response], None]], None]) -> None:
        self._api = api
        self._dispatch = dispatch
        self._buffer = bytearray()
        self._busy = False
        self._keep_alive = True
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        if self._busy or self._transport is None:
            return
        try:
            taken = http_wire.take_request(self._buffer)
        except http_wire.BadRequest:
            self._keep_alive = False
            self._reply(http_wire.error_page(400))
            return
        if taken is None:
            if http_wire.waits_for_continue(self._buffer):
                self._transport.write(http_wire.CONTINUE)
            return
        request, self._keep_alive = taken
        self._busy = True
        if self._api.serves(request.target):
            self._dispatch(request, self._reply)
        else:
            self._keep_alive = False
            self._reply(http_wire.error_page(404))

    def _reply(self, response: rest.Response) -> None:
        if self._transport is None:
            return
        self._transport.write(http_wire.serialise(response, self._keep_alive))
        if not self._keep_alive:
            self._transport.close()
            return
        self._busy = False
        self._advance()
