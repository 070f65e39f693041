"""One warmup record, compared with the signature it names, as the model server does before it runs it.

Source: tensorflow/serving, apis/prediction_log.proto, servables/tensorflow/{predict_util.cc,classifier.cc,regressor.cc,
multi_inference.cc,util.cc}; tensorflow/tensorflow, cc/saved_model/util.cc (GetInputValues), core/framework/tensor.cc (FromProto).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tfmodel_serving import signatures as names
from tfmodel_serving.protos import saved_model_pb2 as pb
from tfmodel_serving.signatures import Signature, Tensor

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
MAX_RANK = 254
"""TensorShape::MaxDimensions()"""

_SIZES = {
    1: "UINT8 INT8 BOOL QINT8 QUINT8",
    2: "INT16 UINT16 HALF BFLOAT16 QINT16 QUINT16",
    4: "FLOAT INT32 UINT32 QINT32",
    8: "DOUBLE INT64 UINT64 COMPLEX64",
    16: "COMPLEX128",
}
_BYTES = {f"DT_{name}": size for size, names_of_size in _SIZES.items() for name in names_of_size.split()}
"""Bytes of one element, of the types whose content is just their elements."""


class Refused(ValueError):
    """The model server would fail on the record, and with it on the version; the message says why."""


def check(log: pb.PredictionLog, signatures: Mapping[str, Signature] | None, max_batch_size: int, *, is_whole: bool) -> list[str]:
    """Check one record; return warnings.

    Args:
        signatures: Of the version, or None if they are not known.
        max_batch_size: The server's; 0: no limit.
        is_whole: False if ``log`` comes without its large values.

    Raises:
        Refused: The model server would fail on it.
    """
    kind = log.WhichOneof("log_type")
    if kind is None:
        return ["it holds no request and warms nothing up"]
    if kind in {"session_run_log", "predict_streamed_log"}:
        raise Refused(f"the model server does not take a {kind} for warmup")
    if signatures is None:
        return []
    if kind == "predict_log":
        return _check_predict(log.predict_log.request, signatures, max_batch_size, is_whole)
    if kind == "multi_inference_log":
        return _check_multi_inference(log.multi_inference_log.request, signatures, max_batch_size)
    method = CLASSIFY if kind == "classify_log" else REGRESS
    request = log.classify_log.request if kind == "classify_log" else log.regress_log.request
    _check_examples(request.input, max_batch_size)
    return _check_method(_signature(request.model_spec, signatures), method)


def _check_predict(
    request: pb.PredictRequest, signatures: Mapping[str, Signature], max_batch_size: int, is_whole: bool
) -> list[str]:
    signature = _signature(request.model_spec, signatures)
    wanted, given = set(signature.inputs), set(request.inputs)
    missing = sorted(wanted - given - signature.defaults)
    if missing or len(given) > len(wanted) or (len(given) < len(wanted) and not signature.defaults):
        raise Refused(f"its inputs are {_set(given)}, and the signature's are {_set(wanted)}")
    warnings = [f"its input {name} is none of the signature's" for name in sorted(given - wanted)]
    for name in sorted(given & wanted):
        warnings += _check_tensor(name, request.inputs[name], signature.inputs[name], is_whole)
    if max_batch_size:
        _check_batch(request, max_batch_size)
    asked: set[str] = set()
    for output in request.output_filter:
        if output not in signature.outputs:
            raise Refused(f"it asks for the output {output}, and the signature's are {_set(set(signature.outputs))}")
        if output in asked:
            raise Refused(f"it asks for the output {output} twice")
        asked.add(output)
    return warnings


def _check_tensor(name: str, tensor: pb.TensorProto, wanted: Tensor, is_whole: bool) -> list[str]:
    dtype = names.dtype_name(tensor.dtype)
    if dtype == "DT_INVALID":
        raise Refused(f"its input {name} has no dtype")
    shape = [dim.size for dim in tensor.tensor_shape.dim[: MAX_RANK + 1]]
    elements = math.prod(shape)
    if tensor.tensor_shape.unknown_rank or len(shape) > MAX_RANK or min(shape, default=0) < 0 or elements >= 2**63:
        raise Refused(f"its input {name} has no valid shape")
    content = len(tensor.tensor_content)
    if is_whole and content and elements and content != elements * _BYTES.get(dtype, content):
        raise Refused(f"its input {name} has {content} bytes of content for the shape {shape} of {dtype}")
    if wanted.dtype not in {dtype, "DT_INVALID"}:
        raise Refused(f"its input {name} is {dtype}, and the signature says {wanted.dtype}")
    if wanted.shape is not None and not _fits(shape, wanted.shape):
        return [f"its input {name} has the shape {shape}, and the signature says {list(wanted.shape)}"]
    return []


def _fits(shape: list[int], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(other in {-1, size} for size, other in zip(shape, wanted, strict=True))


def _check_batch(request: pb.PredictRequest, max_batch_size: int) -> None:
    sizes = {name: [dim.size for dim in tensor.tensor_shape.dim][:1] for name, tensor in sorted(request.inputs.items())}
    for name, size in sizes.items():
        if not size:
            raise Refused(f"its input {name} is a scalar, and the model server batches")
        if size[0] > max_batch_size:
            raise Refused(f"its input {name} is a batch of {size[0]}, and maxBatchSize is {max_batch_size}")
    if len({size[0] for size in sizes.values()}) > 1:
        raise Refused("its inputs differ in their 0th dimension, and the model server batches")


def _check_multi_inference(
    request: pb.MultiInferenceRequest, signatures: Mapping[str, Signature], max_batch_size: int
) -> list[str]:
    warnings: list[str] = []
    seen: set[str] = set()
    inputs: set[str] = set()
    if not request.tasks:
        raise Refused("it has no tasks")
    for task in request.tasks:
        signature = _signature(task.model_spec, signatures)
        name = task.model_spec.signature_name or names.DEFAULT
        if not task.model_spec.name or task.model_spec.name != request.tasks[0].model_spec.name:
            raise Refused("its tasks don't all name the same model")
        if name in seen:
            raise Refused(f"two of its tasks are for the signature {name}")
        if task.method_name not in {CLASSIFY, REGRESS}:
            raise Refused(f"the method of a task is {task.method_name!r}, neither {CLASSIFY} nor {REGRESS}")
        seen.add(name)
        warnings += _check_method(signature, task.method_name)
        inputs.add(signature.inputs["inputs"].name)
    if len(inputs) > 1:
        raise Refused("its tasks are for signatures with different input tensors")
    _check_examples(request.input, max_batch_size)
    return warnings


def _check_method(signature: Signature, method: str) -> list[str]:
    """Check that a signature takes tf.Examples and gives what ``method`` returns."""
    wanted_outputs = {"classes", "scores"} if method == CLASSIFY else {"outputs"}
    if set(signature.inputs) != {"inputs"}:
        raise Refused(f"the signature's inputs are {_set(set(signature.inputs))}, and {method} needs just one, called inputs")
    if signature.inputs["inputs"].dtype not in {"DT_STRING", "DT_INVALID"}:
        raise Refused(f"the signature's input is {signature.inputs['inputs'].dtype}, and {method} feeds DT_STRING")
    outputs = set(signature.outputs)
    if not outputs & wanted_outputs or len(outputs) > len(wanted_outputs):
        raise Refused(f"the signature's outputs are {_set(outputs)}, and {method} needs {' or '.join(sorted(wanted_outputs))}")
    if signature.method != method:
        return [f"it is for a signature with the method {signature.method or 'none'}, not {method}"]
    return []


def _check_examples(given: pb.Input, max_batch_size: int) -> None:
    kind = given.WhichOneof("kind")
    examples = len(given.example_list.examples) or len(given.example_list_with_context.examples)
    if kind is None or not examples:
        raise Refused("it holds no tf.Example")
    if max_batch_size and examples > max_batch_size:
        raise Refused(f"it is a batch of {examples} examples, and maxBatchSize is {max_batch_size}")


def _signature(spec: pb.ModelSpec, signatures: Mapping[str, Signature]) -> Signature:
    name = spec.signature_name or names.DEFAULT
    if name not in signatures:
        raise Refused(f"the model has no signature {name}; it has {_set(set(names.public(signatures)))}")
    return signatures[name]


def _set(values: set[str]) -> str:
    """Show some of ``values``, as they may be many."""
    shown = sorted(values)
    return "{" + ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "") + "}"
