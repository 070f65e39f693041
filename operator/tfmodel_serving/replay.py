"""The requests of a warmup file, sent again: what to send to which method, and what the answers hold.

Source: tensorflow/serving, apis/{prediction_log,prediction_service,predict,classification,regression,inference}.proto.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

from tfmodel_serving import signatures, tensors, wire
from tfmodel_serving.protos import answers_pb2, saved_model_pb2
from tfmodel_serving.tensors import Tensor, Undecodable

SERVICE = "/tensorflow.serving.PredictionService"

Outputs = Mapping[str, Tensor]
"""By name: ``y`` of the default signature, ``signature/y`` of another one."""

_Message = saved_model_pb2.PredictRequest | saved_model_pb2.ExamplesRequest | saved_model_pb2.MultiInferenceRequest


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Args:
        method: Of the :data:`SERVICE`: ``Predict``, ``Classify``, ``Regress`` or ``MultiInference``.
    """

    method: str
    message: _Message

    @property
    def signature(self) -> str:
        """The signature it names, ``""`` for the default one; of several, the first one."""
        return next((spec.signature_name for spec in self._specs()), "")

    def addressed(self, model: str, version: int) -> bytes:
        """Return the request as it is sent to one version of one model; whatever else it says stays as it is."""
        for spec in self._specs():
            spec.name = model
            spec.version.value = version
        return self.message.SerializeToString()

    def _specs(self) -> list[saved_model_pb2.ModelSpec]:
        if isinstance(self.message, saved_model_pb2.MultiInferenceRequest):
            return [task.model_spec for task in self.message.tasks]
        return [self.message.model_spec]


def request(record: bytes) -> Request | None:
    """Return the request of a warmup record (a PredictionLog), or None if it holds none.

    Raises:
        wire.Malformed: It is no PredictionLog.
    """
    log = wire.parse(saved_model_pb2.PredictionLog, record)
    match log.WhichOneof("log_type"):
        case "predict_log":
            return Request("Predict", log.predict_log.request)
        case "classify_log":
            return Request("Classify", log.classify_log.request)
        case "regress_log":
            return Request("Regress", log.regress_log.request)
        case "multi_inference_log":
            return Request("MultiInference", log.multi_inference_log.request)
        case _:
            return None


def outputs(request: Request, answer: bytes) -> Outputs:
    """Return the outputs in an answer to ``request``.

    Raises:
        Undecodable: One of them can't be read; the message names it.
    """
    try:
        return _outputs(request, answer)
    except wire.Malformed as error:
        raise Undecodable(f"the answer {error}") from error


def _outputs(request: Request, answer: bytes) -> Outputs:
    match request.method:
        case "Predict":
            response = wire.parse(answers_pb2.PredictResponse, answer)
            return {_name(request.signature, name): _tensor(name, proto) for name, proto in sorted(response.outputs.items())}
        case "Classify":
            return _classification(request.signature, wire.parse(answers_pb2.ClassificationResponse, answer).result)
        case "Regress":
            return _regression(request.signature, wire.parse(answers_pb2.RegressionResponse, answer).result)
        case _:
            found: dict[str, Tensor] = {}
            for result in wire.parse(answers_pb2.MultiInferenceResponse, answer).results:
                signature = result.model_spec.signature_name
                if result.WhichOneof("result") == "classification_result":
                    found |= _classification(signature, result.classification_result)
                else:
                    found |= _regression(signature, result.regression_result)
            return found


def _name(signature: str, output: str) -> str:
    return output if signature in {"", signatures.DEFAULT} else f"{signature}/{output}"


def _tensor(name: str, proto: answers_pb2.TensorProto) -> Tensor:
    try:
        return tensors.tensor(proto)
    except Undecodable as error:
        raise Undecodable(f"output {name}: {error}") from error


def _classification(signature: str, result: answers_pb2.ClassificationResult) -> Outputs:
    rows = [one.classes for one in result.classifications]
    shape = (len(rows), len(rows[0]) if rows else 0)
    if any(len(row) != shape[1] for row in rows):
        raise Undecodable("its examples have different numbers of classes")
    tensors.check_size(len(rows) * shape[1], tensors.MAX_STRINGS)
    every = list(itertools.chain.from_iterable(rows))
    return {
        _name(signature, "classes"): Tensor("DT_STRING", shape, [one.label.encode() for one in every]),
        _name(signature, "scores"): tensors.floats(shape, [one.score for one in every]),
    }


def _regression(signature: str, result: answers_pb2.RegressionResult) -> Outputs:
    values = [one.value for one in result.regressions]
    return {_name(signature, "outputs"): tensors.floats((len(values),), values)}
