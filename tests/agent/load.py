"""Bounded load on a model server: a fixed rate over REST and gRPC, every answer checked."""

from __future__ import annotations

import collections
import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import grpc

X = (1.0, 2.0, 5.0)
BODY = json.dumps({"instances": X})
PREDICT = "/tensorflow.serving.PredictionService/Predict"
MAX_SECONDS = 240.0
CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]


def predict_request(model: str, label: str = "") -> bytes:
    """Return a serialised PredictRequest: x = [1, 2, 5] for the signature serving_default."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if label:
        request.model_spec.version_label = label
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(X, dtype=tf.float32))
    return request.SerializeToString()


class Load:
    """Sends requests at ``per_second`` over each protocol while in use; ``failures`` lists what went wrong.

    ``seconds`` has how long each request took, those that failed as well. The model answers x / 2 plus something; what it
    adds, which tells versions apart, is in ``added`` with the moment of each answer.

    Args:
        label: Asks for the version with this label, instead of none.
    """

    def __init__(self, rest: str, grpc_address: str, model: str = "half", per_second: float = 100.0, label: str = "") -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.added: list[tuple[float, float]] = []
        self._path = f"/v1/models/{model}{label and f'/labels/{label}'}:predict"
        self._pause = 1.0 / per_second
        self._stop = threading.Event()
        request = predict_request(model, label)
        self._threads = [
            threading.Thread(target=self._run, args=(self._rest(rest),)),
            threading.Thread(target=self._run, args=(self._grpc(grpc_address, request),)),
        ]

    @property
    def answers(self) -> int:
        return len(self.added)

    def answered(self, since: float = 0.0) -> collections.Counter[float]:
        """Return how often which version has answered since then, by what it adds."""
        return collections.Counter(plus for at, plus in tuple(self.added) if at >= since)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self, call: Callable[[], Sequence[float]]) -> None:
        begin, sent = time.monotonic(), 0
        while not self._stop.wait(max(0.0, begin + sent * self._pause - time.monotonic())):
            sent += 1
            sent_at = time.monotonic()
            if sent_at - begin > MAX_SECONDS:
                self.failures.append(f"the load ended by itself after {MAX_SECONDS:.0f} s")
                return
            try:
                self.added.append((sent_at, _added(call())))
            except (OSError, http.client.HTTPException, grpc.RpcError, AssertionError) as error:
                self.failures.append(f"{time.monotonic() - begin:.2f} s: {type(error).__name__} {str(error)[:200]}")
            self.seconds.append(time.monotonic() - sent_at)

    def _rest(self, address: str) -> Callable[[], Sequence[float]]:
        def call() -> Sequence[float]:
            connection = http.client.HTTPConnection(address, timeout=5)
            try:
                connection.request("POST", self._path, BODY)
                response = connection.getresponse()
                body = response.read()
                assert response.status == 200, f"HTTP {response.status}: {body[:200]!r}"
                return list(json.loads(body)["predictions"])
            finally:
                connection.close()

        return call

    def _grpc(self, address: str, request: bytes) -> Callable[[], Sequence[float]]:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        stub = grpc.insecure_channel(address, options=CHANNEL_OPTIONS).unary_unary(PREDICT)

        def call() -> Sequence[float]:
            answer = predict_pb2.PredictResponse.FromString(stub(request, timeout=5))
            return [float(y) for y in tf.make_ndarray(answer.outputs["y"])]

        return call


def _added(ys: Sequence[float]) -> float:
    """Return what the model adds to x / 2."""
    added = {round(y - x / 2, 3) for x, y in zip(X, ys, strict=True)}
    assert len(added) == 1, f"not an answer to {X}: {ys}"
    return added.pop()
