"""The gRPC port: the services, the limit on threads, health, profiler.

Sources: model_servers/server.cc; gRPC C++ ``ThreadManager`` and ``ResourceQuota`` for the limit.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from tests.modelserver import examples, health, inference, log, metrics, model_status, profiler, services, status
from tests.modelserver.core import ServerCore
from tests.modelserver.flags import Flags
from tests.modelserver.protos import (
    SSLConfig,
    classification_pb2,
    config_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

_SPARE_THREADS = 8  # to answer "exhausted" from, and for health checks, which cost the original no thread


class ThreadLimit:
    """Counts calls under way against ``--grpc_max_threads``.

    The original handles a call on the thread that received it and then needs another one to receive the next. So of N
    threads N-1 can be busy; the call after that is answered RESOURCE_EXHAUSTED at once, whatever it is. A reload that hangs
    occupies its thread although its client has long gone: with the default of 4 per CPU seven of those end all gRPC service
    on two CPUs.
    """

    def __init__(self, threads: int) -> None:
        self._lock = threading.Lock()
        self._free = threads - 1

    def enter(self) -> bool:
        """Take a thread if there is one."""
        with self._lock:
            if self._free <= 0:
                return False
            self._free -= 1
            return True

    def leave(self) -> None:
        """Give the thread back."""
        with self._lock:
            self._free += 1


class GrpcServer:
    """Builds and starts the server; a port in use is shared, as gRPC binds with SO_REUSEPORT."""

    def __init__(self, core: ServerCore, flags: Flags, ssl: Any | None) -> None:
        self._core = core
        self._limit = ThreadLimit(flags.grpc_max_threads)
        workers = concurrent.futures.ThreadPoolExecutor(max(flags.grpc_max_threads, 1) + _SPARE_THREADS, "grpc")
        self._server = grpc.server(workers, options=_options(flags.grpc_channel_arguments))
        self._add("tensorflow.serving.PredictionService", self._prediction_methods())
        self._add("tensorflow.serving.ModelService", self._model_methods())
        if flags.enable_profiler:
            for service, methods in profiler.methods().items():
                self._add(service, methods)
            log.info("grpc_server", "Profiler service is enabled")
        if flags.enable_grpc_healthcheck_service:
            self._server.add_generic_rpc_handlers((health.handler(),))
        if flags.port:
            address = f"0.0.0.0:{flags.port}"
            if ssl is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, _credentials(ssl))
        if flags.grpc_socket_path:
            self._server.add_insecure_port(f"unix:{flags.grpc_socket_path}")
        self._server.start()

    def wait(self) -> None:
        """Wait for ever: nothing ever stops the server."""
        self._server.wait_for_termination()

    def _add(self, service: str, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        limited = {name: self._limited(method) for name, method in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, limited),))

    def _limited(self, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
        behavior = method.unary_unary

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            if not self._limit.enter():
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            try:
                return behavior(request, context)
            except status.StatusError as failure:
                code = _GRPC_CODES[failure.code]
                context.abort(code, status.grpc_details(failure.message))  # type: ignore[arg-type]  # bytes pass as they are
            finally:
                self._limit.leave()

        return grpc.unary_unary_rpc_method_handler(call, method.request_deserializer, method.response_serializer)

    def _prediction_methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        core = self._core
        return {
            "Predict": _handler(
                self._counted("Predict", inference.predict), predict_pb2.PredictRequest, predict_pb2.PredictResponse
            ),
            "Classify": _handler(
                self._counted("Classify", examples.classify),
                classification_pb2.ClassificationRequest,
                classification_pb2.ClassificationResponse,
            ),
            "Regress": _handler(
                self._counted("Regress", examples.regress),
                regression_pb2.RegressionRequest,
                regression_pb2.RegressionResponse,
            ),
            "MultiInference": _handler(
                lambda request, context: services.run_multi_inference(core, request, _run_options(context)),
                inference_pb2.MultiInferenceRequest,
                inference_pb2.MultiInferenceResponse,
            ),
            "GetModelMetadata": _handler(
                lambda request, context: services.metadata(core, request),
                get_model_metadata_pb2.GetModelMetadataRequest,
                get_model_metadata_pb2.GetModelMetadataResponse,
            ),
        }

    def _model_methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        core = self._core
        return {
            "GetModelStatus": grpc.unary_unary_rpc_method_handler(
                lambda request, context: model_status.to_wire(model_status.states(request, core.states)),
                get_model_status_pb2.GetModelStatusRequest.FromString,
                bytes,  # serialised by hand: see to_wire
            ),
            "HandleReloadConfigRequest": _handler(
                lambda request, context: services.reload_config(core, request),
                model_management_pb2.ReloadConfigRequest,
                model_management_pb2.ReloadConfigResponse,
            ),
        }

    def _counted(self, api: str, method: services.Run) -> Callable[[Any, grpc.ServicerContext], Any]:
        """Return a handler that counts every call, and times the successful ones."""

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.monotonic()
            code = status.Code.UNKNOWN
            try:
                response = services.run(self._core, method, request, _run_options(context))
                code = status.Code.OK
                micros = (time.monotonic() - started) * 1e6
                metrics.request_latency.add(micros, request.model_spec.name, api, "GRPC")
                return response
            except status.StatusError as failure:
                code = failure.code
                raise
            finally:
                metrics.request_count.increment(1, request.model_spec.name, code.name)

        return call


_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _handler(behavior: Callable[[Any, grpc.ServicerContext], Any], request: Any, response: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(behavior, request.FromString, response.SerializeToString)


def _run_options(context: grpc.ServicerContext) -> bytes:
    """Return RunOptions with the call's deadline as time-out (prediction_service_util.cc)."""
    remaining = context.time_remaining()
    if remaining is None or remaining > 2**31 / 1000:
        return b""
    options: bytes = config_pb2.RunOptions(timeout_in_ms=max(1, int(remaining * 1000))).SerializeToString()
    return options


def _options(arguments: str) -> list[tuple[str, int | str]]:
    """Return gRPC's options of ``--grpc_channel_arguments``: a comma list of k=v, integers where they are."""
    options: list[tuple[str, int | str]] = [("grpc.max_receive_message_length", 2**31 - 1)]
    for argument in filter(None, arguments.split(",")):
        key, equals, value = argument.partition("=")
        if equals:  # the original reads past the end of a vector here; it happened to survive that
            options.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return options


def _credentials(ssl: Any) -> grpc.ServerCredentials:
    assert isinstance(ssl, SSLConfig)
    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        ssl.custom_ca.encode() or None,
        ssl.client_verify,
    )
