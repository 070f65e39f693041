"""TensorFlow's profiler, reachable on the gRPC port (``--enable_profiler``, on by default).

The original registers TensorFlow's ProfilerService with its own gRPC server. Here calls are passed on, byte for byte, to
TensorFlow's stand-alone profiler server inside this process, which is started by the first call: that imports the Python
package and takes some seconds, once.
"""

from __future__ import annotations

import functools
import socket
import threading
from typing import Any

import grpc

from tests.modelserver import status

_SERVICES = {"tensorflow.ProfilerService": ("Profile", "Terminate", "Monitor")}
_START_SECONDS = 60.0

_lock = threading.Lock()


def methods() -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
    """Return the handlers by service and method."""
    return {service: {name: _passed_on(f"/{service}/{name}") for name in names} for service, names in _SERVICES.items()}


def _passed_on(path: str) -> grpc.RpcMethodHandler[Any, Any]:
    def call(request: bytes, context: grpc.ServicerContext) -> Any:
        with _lock:
            channel = _channel()
        try:
            return channel.unary_unary(path, _same, _same)(request, timeout=context.time_remaining())
        except grpc.RpcError as error:
            raise status.StatusError(status.Code(error.code().value[0]), error.details() or "") from error

    return grpc.unary_unary_rpc_method_handler(call, _same, _same)


def _same(message: bytes) -> bytes:
    return message


@functools.cache
def _channel() -> grpc.Channel:
    import tensorflow as tf  # type: ignore[import-untyped]  # not at the top: five seconds that no other call should cost

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tf.profiler.experimental.server.start(port)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    grpc.channel_ready_future(channel).result(timeout=_START_SECONDS)
    return channel
