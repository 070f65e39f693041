"""The two calls the agent makes to its model server, over gRPC on localhost.

Source: tensorflow/serving, apis/model_service.proto.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable

import grpc
import grpc.aio

from tfmodel_agent import history as memory
from tfmodel_serving import model_config, state
from tfmodel_serving.protos import serving_pb2 as pb

STATUS_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 << 20
"""A version's error quotes the warmup record that failed, whatever its size, for as long as the server lives; an answer beyond
the limit would be none, and gRPC's default of 4 MiB is soon reached."""

log = logging.getLogger(__name__)


class ModelServerUnreachable(Exception):
    """No answer: the model server is starting, gone, or out of threads. It says nothing about models.

    Args:
        code: Of the call.
        was_delivered: The request went out over a connection that stood.
    """

    def __init__(self, message: str, code: grpc.StatusCode, *, was_delivered: bool = False) -> None:
        super().__init__(f"{code.name}: {message}")
        self.has_broken = was_delivered and code is grpc.StatusCode.UNAVAILABLE
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
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            ("grpc.enable_retries", 0),  # a reload is sent once, whatever becomes of it
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
        stood = self.connected
        try:
            await self._reload(request)
        except grpc.aio.AioRpcError as error:
            message = state.clean(error.details() or "")
            match error.code():
                case grpc.StatusCode.UNKNOWN:
                    log.info("Reload ended with a failed load", extra={"answer": message})  # the status says which
                case grpc.StatusCode.INVALID_ARGUMENT:
                    raise ReloadRefused(message, poisoned="platform" in message) from error
                case grpc.StatusCode.FAILED_PRECONDITION:  # of a label, whatever the name of its model
                    raise ReloadRefused(message, poisoned=False) from error
                case code:
                    raise ModelServerUnreachable(message, code, was_delivered=stood) from error

    async def look(self, names: Iterable[str]) -> memory.Seen:
        """Ask for the status of every version of the models called ``names``.

        A connection that breaks on the way is made anew once: the server ends each when it has become old, and a call that is
        sent in that moment is lost. That must not look like a server that is away.
        """
        wanted, stood = tuple(names), self.connected
        try:
            try:
                return await self._ask(wanted, stood)
            except ModelServerUnreachable as error:
                if not error.has_broken:
                    raise
                return await self._ask(wanted)
        except ModelServerUnreachable as error:
            message = f"the model server at {self.address} does not answer: {error}"
            return memory.Seen(message=message, is_busy=error.is_busy and self.connected)

    async def _ask(self, names: Iterable[str], stood: bool = False) -> memory.Seen:
        # All at once, and one after the other awaited: a task for each would cost as much again as the call.
        calls = {name: self._status(_status_request(name), timeout=STATUS_SECONDS) for name in names}
        try:
            answers = {name: await _answer(call, stood) for name, call in calls.items()}
        except ModelServerUnreachable:
            for call in calls.values():
                call.cancel()
            raise
        return memory.Seen({name: versions for name, versions in answers.items() if versions is not None})


def _status_request(name: str) -> pb.GetModelStatusRequest:
    return pb.GetModelStatusRequest(model_spec=pb.ModelSpec(name=name))


async def _answer(call: Awaitable[pb.GetModelStatusResponse], stood: bool) -> memory.Versions | None:
    """Return the versions that the answer to a call names, or None if the server does not know the model.

    Args:
        stood: The connection did when the call was made.

    Raises:
        ModelServerUnreachable: There is no answer.
    """
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise ModelServerUnreachable(state.clean(error.details() or ""), error.code(), was_delivered=stood) from error
    return {found.version: _version(found) for found in response.model_version_status}


_QUOTED_BYTES = 16 * state.MESSAGE_CHARACTERS
_STATES = {number: name for name, number in pb.ModelVersionStatus.State.items()}


def _version(found: pb.ModelVersionStatus) -> memory.ServerVersion:
    status = found.status
    message = state.clean(status.error_message[:_QUOTED_BYTES].decode("utf-8", "replace")) if status.error_message else ""
    return memory.ServerVersion(_STATES.get(found.state, "UNKNOWN"), status.error_code, message)
