"""A model server faked at the transport: it answers Predict as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc
import grpc.aio

from tests.modelserver.protos import predict_pb2


class Refusal(Exception):
    """What the server answers instead."""

    def __init__(self, code, details=""):
        super().__init__(details)
        self.code, self.details = grpc.StatusCode[code], details


class AnswerServer:
    """Answers Predict with the bytes that ``answers`` has for the version that is asked."""

    def __init__(self, answers=None):
        self._answers = answers

    @contextlib.asynccontextmanager
    async def running(self):
        """Yield the address."""
        server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        method = grpc.unary_unary_rpc_method_handler(self._predict, predict_pb2.PredictRequest.FromString, bytes)
        service = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {"Predict": method})
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)

    async def _predict(self, request, context):
        return self._answers[request.model_spec.version.value]


class PredictionServer(AnswerServer):
    """Answers ``answer(model, version, x)``, a list of numbers, as the output y; remembers who asked when."""

    def __init__(self, answer):
        super().__init__()
        self._answer = answer
        self.asked = []
        self.under_way = self.most_under_way = 0

    async def _predict(self, request, context):
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        begin = time.monotonic()
        model, version = request.model_spec.name, request.model_spec.version.value
        try:
            values = self._answer(model, version, list(request.inputs["x"].float_val))
            if asyncio.iscoroutine(values):
                values = await values
        except Refusal as refusal:
            await context.abort(refusal.code, refusal.details)
        finally:
            self.under_way -= 1
            self.asked.append((model, version, begin, time.monotonic()))
        response = predict_pb2.PredictResponse()
        response.outputs["y"].dtype = 1
        response.outputs["y"].tensor_shape.dim.add(size=len(values))
        response.outputs["y"].float_val.extend(values)
        return response.SerializeToString()


def line(model, version, x):
    """Answer 0.5 x + 2, and half a unit more for every later version."""
    return [0.5 * value + 1.5 + 0.5 * version for value in x]
