"""What the answers of a model server mean; the server is faked at the transport."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

from tfmodel_agent import modelserver
from tfmodel_serving.model_config import Model, Specific

CONFIG = [Model("platform", "/models/platform", Specific((1,)))]


@contextlib.asynccontextmanager
async def connected(options=(), **methods):
    """Yield a connection to a server that has these methods of the ModelService."""
    server = grpc.aio.server(options=options)
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = modelserver.ModelServer(f"127.0.0.1:{port}")
    try:
        yield client
    finally:
        await client.close()
        await server.stop(None)


def reload(code, details):
    """Send a reload to a server that answers with ``code``; return what is raised, or None."""

    async def answer(_, context):
        await context.abort(code, details)

    async def scene():
        async with connected(HandleReloadConfigRequest=answer) as client:
            try:
                await client.reload(CONFIG)
            except (modelserver.ReloadRefused, modelserver.ModelServerUnreachable) as error:
                return error

    return asyncio.run(scene())


@pytest.mark.parametrize(
    ("code", "details", "is_poisoned"),
    [
        pytest.param(
            grpc.StatusCode.INVALID_ARGUMENT, "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, ", True, id="a model without platform",
        ),
        pytest.param(
            grpc.StatusCode.FAILED_PRECONDITION, "Request to assign label to version 1 of model platform, which is not "
            "currently available for inference", False, id="a label, of a model with a telling name",
        ),
        pytest.param(grpc.StatusCode.INVALID_ARGUMENT, "Expected model a to have an absolute path", False, id="a path"),
    ],
)  # fmt: skip
def test_only_a_lack_of_platform_poisons_a_server(code, details, is_poisoned):
    refused = reload(code, details)
    assert isinstance(refused, modelserver.ReloadRefused)
    assert refused.poisoned == is_poisoned


def test_a_failed_load_is_no_refusal():
    assert reload(grpc.StatusCode.UNKNOWN, "1 model(s) did not become available: {}") is None


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_no_answer_says_nothing_of_models(code):
    unanswered = reload(code, "no thread")
    assert isinstance(unanswered, modelserver.ModelServerUnreachable)
    assert unanswered.is_busy == (code is grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_a_connection_that_the_server_ends_for_its_age_is_no_outage():
    """Else a server would answer for nobody each time that `grpc.max_connection_age_ms` ends the agent's own connection."""
    ended = []

    async def answer(_, context):
        ended.append(context.peer())
        return b""

    async def scene():
        async with connected(options=[("grpc.max_connection_age_ms", 10)], GetModelStatus=answer) as client:
            while len(set(ended)) < 100:
                yield await client.look(["a", "b", "c"])

    async def looks():
        return [seen.message async for seen in scene()]

    assert set(asyncio.run(looks())) == {""}
