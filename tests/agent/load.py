"""Bounded load on a model server: a fixed rate over REST and gRPC, every answer checked."""

from __future__ import annotations

import http.client
import json
import threading
import time
from types import TracebackType
from typing import Self

import grpc

BODY = json.dumps({"instances": [1.0, 2.0, 5.0]})
PREDICT = "/tensorflow.serving.PredictionService/Predict"
MAX_SECONDS = 120.0
CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]


def predict_request(model: str) -> bytes:
    """Return a serialised PredictRequest: x = [1, 2, 5] for the signature serving_default."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0, 5.0], dtype=tf.float32))
    return request.SerializeToString()


class Load:
    """Sends requests at ``per_second`` over each protocol while in use; ``failures`` lists what went wrong.

    ``seconds`` has how long each request took, those that failed as well.
    """

    def __init__(self, rest: str, grpc_address: str, model: str = "half", per_second: float = 100.0) -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.answers = 0
        self._model, self._pause = model, 1.0 / per_second
        self._stop = threading.Event()
        request = predict_request(model)
        self._threads = [
            threading.Thread(target=self._run, args=(self._rest, rest)),
            threading.Thread(target=self._run, args=(self._grpc, (grpc_address, request))),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self, send: object, target: object) -> None:
        begin, sent = time.monotonic(), 0
        call = send(target)  # type: ignore[operator]
        while not self._stop.wait(max(0.0, begin + sent * self._pause - time.monotonic())):
            sent += 1
            if time.monotonic() - begin > MAX_SECONDS:
                return
            sent_at = time.monotonic()
            try:
                call()
                self.answers += 1
            except (OSError, http.client.HTTPException, grpc.RpcError, AssertionError) as error:
                self.failures.append(f"{time.monotonic() - begin:.2f} s: {type(error).__name__} {str(error)[:200]}")
            self.seconds.append(time.monotonic() - sent_at)

    def _rest(self, address: str) -> object:
        def call() -> None:
            connection = http.client.HTTPConnection(address, timeout=5)
            try:
                connection.request("POST", f"/v1/models/{self._model}:predict", BODY)
                response = connection.getresponse()
                body = response.read()
                assert response.status == 200, f"HTTP {response.status}: {body[:200]!r}"
            finally:
                connection.close()

        return call

    def _grpc(self, target: tuple[str, bytes]) -> object:
        address, request = target
        channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        stub = channel.unary_unary(PREDICT)
        return lambda: stub(request, timeout=5)
