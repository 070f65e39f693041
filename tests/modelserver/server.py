"""Puts the server together and starts it (model_servers/server.cc)."""

from __future__ import annotations

import dataclasses
import os
import threading
from typing import Any

from tests.modelserver import (
    configs,
    executors,
    grpc_server,
    http_server,
    inference,
    loader,
    log,
    rest,
    status,
    tensorflow_c,
)
from tests.modelserver.core import ServerCore
from tests.modelserver.flags import Flags
from tests.modelserver.monitor import ServableId
from tests.modelserver.protos import BatchingParameters, MonitoringConfig, SSLConfig, config_pb2, model_server_config_pb2


@dataclasses.dataclass
class Server:
    """A server, as far as it got: after a failed start whatever is already up stays up."""

    flags: Flags
    _grpc: grpc_server.GrpcServer | None = None

    def build_and_start(self) -> None:
        """Load the initial models, *then* open the ports.

        Raises:
            StatusError: The server cannot start. A bad monitoring configuration is found only when gRPC already serves.
        """
        flags = self.flags
        if not flags.port and not flags.grpc_socket_path:
            raise status.invalid_argument(
                "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
            )
        if flags.use_alts_credentials:
            raise status.invalid_argument("the stand-in has no ALTS credentials")
        if not flags.model_base_path and not flags.model_config_file:
            raise status.invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
        inference.check_method_names = flags.enable_signature_method_name_check
        inference.tensor_content = flags.enable_serialization_as_tensor_content
        config = self._initial_config()
        options = _loader_options(flags)

        def make_loader(servable_id: ServableId, path: str) -> loader.SavedModelLoader:
            return loader.SavedModelLoader(options, servable_id, path)

        core = ServerCore(flags, make_loader, len(os.sched_getaffinity(0)))
        core.reload_config(config)
        if flags.model_config_file_poll_wait_seconds > 0 and flags.model_config_file:
            executors.PeriodicThread(
                lambda: self._poll_config_file(core), flags.model_config_file_poll_wait_seconds, "config-file"
            )
        ssl = configs.parse_text_file(flags.ssl_config_file, SSLConfig()) if flags.ssl_config_file else None
        self._grpc = grpc_server.GrpcServer(core, flags, ssl)
        if flags.port:
            log.info("server", f"Running gRPC ModelServer at 0.0.0.0:{flags.port} ...")
        self._start_rest(core)
        # Only now, unless a model has asked for it already: it takes a core for 0.4 s, and the ports are to open first.
        threading.Thread(target=tensorflow_c.library, name="load-tensorflow", daemon=True).start()

    def wait(self) -> None:
        """Wait for ever, if anything was started."""
        if self._grpc:
            self._grpc.wait()

    def _initial_config(self) -> Any:
        if not self.flags.model_config_file:
            return configs.single_model(self.flags.model_name, self.flags.model_base_path)
        return configs.parse_text_file(self.flags.model_config_file, model_server_config_pb2.ModelServerConfig())

    def _poll_config_file(self, core: ServerCore) -> None:
        """Apply the file again, whether it changed or not: what came by RPC meanwhile is undone."""
        try:
            config = configs.parse_text_file(self.flags.model_config_file, model_server_config_pb2.ModelServerConfig())
        except status.StatusError as failure:
            log.error("server", f"Failed to read ModelServerConfig file: {failure.message}")
            return
        try:
            core.reload_config(config)
        except status.StatusError as failure:
            log.error("server", f"PollFilesystemAndReloadConfig failed to ReloadConfig: {failure.message}")

    def _start_rest(self, core: ServerCore) -> None:
        flags = self.flags
        if not flags.rest_api_port:
            return
        if flags.rest_api_port == flags.port:
            log.error(
                "server",
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
                "Skipped exporting HTTP/REST API.",
            )
            return
        monitoring = MonitoringConfig()
        if flags.monitoring_config_file:
            configs.parse_text_file(flags.monitoring_config_file, monitoring)
        api = rest.RestApi(core, flags.rest_api_timeout_in_ms, flags.rest_api_enable_cors_support, monitoring)
        address = f"localhost:{flags.rest_api_port}"
        try:
            http_server.HttpServer(flags.rest_api_port, flags.rest_api_num_threads, api)
        except OSError as error:
            log.error("server", f"Failed to start HTTP Server at {address}: {error}")
            return
        log.info("server", f"Exporting HTTP/REST API at:{address} ...")


def _loader_options(flags: Flags) -> loader.LoaderOptions:
    parameters = None
    if flags.enable_batching:
        parameters = BatchingParameters()
        if flags.batching_parameters_file:
            configs.parse_text_file(flags.batching_parameters_file, parameters)
    elif flags.batching_parameters_file:
        raise status.invalid_argument(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    return loader.LoaderOptions(
        tags=tuple(flags.saved_model_tags.split(",")),
        session_config=_session_config(flags).SerializeToString(),
        batching=parameters,
        per_model_batching=flags.enable_per_model_batching_parameters,
        warmup=flags.enable_model_warmup,
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup),
    )


def _session_config(flags: Flags) -> config_pb2.ConfigProto:
    config = config_pb2.ConfigProto()
    if flags.tensorflow_session_config_file:
        configs.parse_text_file(flags.tensorflow_session_config_file, config)
    both, intra, inter = (
        flags.tensorflow_session_parallelism,
        flags.tensorflow_intra_op_parallelism,
        flags.tensorflow_inter_op_parallelism,
    )
    if both > 0 and intra > 0 and inter > 0:
        raise status.invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    if intra <= 0 and inter <= 0:
        intra = inter = both
    config.intra_op_parallelism_threads = intra  # the flags win over the file, even by their defaults
    config.inter_op_parallelism_threads = inter
    return config
