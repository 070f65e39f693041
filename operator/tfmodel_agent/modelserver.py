"""The two calls the agent makes to its model server, over gRPC on localhost.

Source: tensorflow/serving, apis/model_service.proto.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import grpc
import grpc.aio

from tfmodel_agent import history as memory
from tfmodel_serving import model_config, state
from tfmodel_serving.protos import serving_pb2 as pb

STATUS_SECONDS = 5.0

log = logging.getLogger(__name__)


class ModelServerUnreachable(Exception):
    """No answer: the model server is starting, gone, or out of threads. It says nothing about models.

    Args:
        code: Of the call.
    """

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        super().__init__(f"{code.name}: {message}")
        self.is_lost = code is grpc.StatusCode.UNAVAILABLE  # there is no connection (any more)
        self.is_busy = code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


class ReloadRefused(Exception):
    """The server answered a reload with an error and applied nothing, or not all of it.

    Args:
        poisoned: It will refuse every later reload as well, until it is restarted.
    """

    def __init__(self, message: str, *, poisoned: bool) -> None:
        super().__init__(message)
        self.poisoned = poisoned


class ModelServer:
    """A connection to one `tensorflow_model_server`."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = [
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.enable_http_proxy", 0),
        ]
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._reload = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            request_serializer=pb.ReloadConfigRequest.SerializeToString,
            response_deserializer=pb.ReloadConfigResponse.FromString,
        )
        self._status = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=pb.GetModelStatusRequest.SerializeToString,
            response_deserializer=pb.GetModelStatusResponse.FromString,
        )

    @property
    def connected(self) -> bool:
        """Whether the connection stands; costs no call."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def close(self) -> None:
        await self._channel.close(grace=None)

    async def reload(self, models: Iterable[model_config.Model]) -> None:
        """Replace the server's config by ``models``; returns when new names have loaded or failed (for those, see the status).

        There is no deadline, on purpose: the server goes on with a reload whose client has left, and executes it later.
        The caller decides when a silent server is suspect.

        Raises:
            ReloadRefused: See there.
            ModelServerUnreachable: The connection broke; whether the reload was executed is not known.
        """
        request = pb.ReloadConfigRequest(config=model_config.to_message(models))
        try:
            await self._reload(request)
        except grpc.aio.AioRpcError as error:
            message = state.clean(error.details() or "")
            match error.code():
                case grpc.StatusCode.UNKNOWN:
                    log.info("Reload ended with a failed load", extra={"answer": message})  # the status says which
                case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
                    raise ReloadRefused(message, poisoned="platform" in message) from error
                case code:
                    raise ModelServerUnreachable(message, code) from error

    async def look(self, names: Iterable[str]) -> memory.Seen:
        """Ask for the status of every version of the models called ``names``."""
        try:
            answers = await asyncio.gather(*(self._versions(name) for name in names))
        except ModelServerUnreachable as error:
            message = f"the model server at {self.address} does not answer: {error}"
            return memory.Seen(message=message, is_busy=error.is_busy and self.connected)
        return memory.Seen({name: versions for name, versions in answers if versions is not None})

    async def _versions(self, name: str) -> tuple[str, memory.Versions | None]:
        request = pb.GetModelStatusRequest(model_spec=pb.ModelSpec(name=name))
        try:
            response = await self._status(request, timeout=STATUS_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return name, None
            raise ModelServerUnreachable(state.clean(error.details() or ""), error.code()) from error
        return name, {found.version: _version(found) for found in response.model_version_status}


def _version(found: pb.ModelVersionStatus) -> memory.ServerVersion:
    message = found.status.error_message.decode("utf-8", "replace")
    return memory.ServerVersion(pb.ModelVersionStatus.State.Name(found.state), found.status.error_code, state.clean(message))
