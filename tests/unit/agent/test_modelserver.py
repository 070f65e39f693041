"""What the answers of a model server mean; the server is faked at the transport."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from tfmodel_agent import modelserver
from tfmodel_serving.model_config import Model, Specific

CONFIG = [Model("platform", "/models/platform", Specific((1,)))]


def reload(code, details):
    """Send a reload to a server that answers with ``code``; return what is raised, or None."""

    async def answer(_, context):
        await context.abort(code, details)

    async def scene():
        server = grpc.aio.server()
        method = ["", "tensorflow.serving.ModelService", "HandleReloadConfigRequest"]
        handlers = {method[2]: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(method[1], handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = modelserver.ModelServer(f"127.0.0.1:{port}")
        try:
            await client.reload(CONFIG)
        except (modelserver.ReloadRefused, modelserver.ModelServerUnreachable) as error:
            return error
        finally:
            await client.close()
            await server.stop(None)

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


@pytest.mark.parametrize(
    ("answers", "reachable", "asked"),
    [
        (["UNAVAILABLE", "OK"], True, 3),
        (["UNAVAILABLE", "UNAVAILABLE"], False, 3),
        (["RESOURCE_EXHAUSTED"], False, 2),
    ],
    ids=["over a connection that ends", "of a server that goes away", "of one that is busy"],
)
def test_a_look_is_taken_again_once_if_its_connection_breaks(answers, reachable, asked):
    left = ["OK", *answers]  # the first has the connection stand
    calls = []

    async def answer(_, context):
        calls.append(left.pop(0))
        if calls[-1] != "OK":
            await context.abort(grpc.StatusCode[calls[-1]], "GOAWAY received; Error code: 0; Debug Text: max_age")
        return b""

    async def scene():
        server = grpc.aio.server()
        handlers = {"GetModelStatus": grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = modelserver.ModelServer(f"127.0.0.1:{port}")
        try:
            assert (await client.look(["half"])).models == {"half": {}}
            return await client.look(["half"])
        finally:
            await client.close()
            await server.stop(None)

    assert asyncio.run(scene()).reachable == reachable
    assert len(calls) == asked
