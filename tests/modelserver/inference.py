"""Predict on a loaded model, and what the other ways to run it share.

Sources: servables/tensorflow/predict_util.cc and util.cc, and ``GetInputValues`` of TensorFlow's saved_model library.
The checks keep their order, because the order decides which message a client sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.modelserver import metrics, status, tensors
from tests.modelserver.bundle import Bundle
from tests.modelserver.protos import predict_pb2, tensor_pb2
from tests.modelserver.tensorflow_c import Array

DEFAULT_SIGNATURE = "serving_default"
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))

check_method_names = False  # --enable_signature_method_name_check; set once, by server.py, before anything is served
tensor_content = False  # --enable_serialization_as_tensor_content; likewise


def predict(bundle: Bundle, version: int | None, request: Any, run_options: bytes = b"") -> Any:
    """Run a PredictRequest."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = bundle.signatures.get(name)
    if signature is None:
        raise status.StatusError(status.Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    if check_method_names and signature.method_name not in (PREDICT, CLASSIFY, REGRESS):
        raise status.StatusError(
            status.Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, {REGRESS}}}. "
            f"Was: {signature.method_name}",
        )
    _check_number_of_inputs(signature, request.inputs)
    feeds = _feeds(signature, request.inputs)
    aliases = _output_aliases(signature, request.output_filter)
    results = timed_run(
        bundle, request.model_spec.name, "Predict", feeds, [signature.outputs[a].name for a in aliases], run_options
    )
    response = predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, request.model_spec.name, name, version)
    for alias, array in zip(aliases, results, strict=True):
        tensors.to_proto(array, response.outputs[alias], tensor_content)
    return response


def _check_number_of_inputs(signature: Any, inputs: Mapping[str, Any]) -> None:
    missing_is_fine = bool(signature.defaults)
    if len(inputs) == len(signature.inputs) or (len(inputs) < len(signature.inputs) and missing_is_fine):
        return
    sent, wanted = set(inputs), set(signature.inputs)
    raise status.invalid_argument(
        f"input size does not match signature: {len(sent)}!={len(wanted)} len({names(sent)}) != len({names(wanted)}). "
        f"Sent extra: {names(sent - wanted)}. Missing but required: {names(wanted - sent)}."
    )


def _feeds(signature: Any, inputs: Mapping[str, Any]) -> dict[str, Array]:
    feeds = {}
    for alias in sorted(signature.inputs):
        info = signature.inputs[alias]
        proto = inputs.get(alias) or signature.defaults.get(alias)
        if proto is None:
            raise status.invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the set {names(signature.inputs)}."
            )
        feeds[info.name] = _parse_tensor(proto, alias)
    return feeds


def _parse_tensor(proto: tensor_pb2.TensorProto, alias: str) -> Array:
    try:
        return tensors.to_array(proto)
    except ValueError as error:
        raise status.invalid_argument(f"tensor parsing error: {alias}") from error


def _output_aliases(signature: Any, wanted: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    for alias in wanted:
        if alias not in signature.outputs:
            raise status.invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{names(signature.outputs)}."
            )
        if alias in seen:
            raise status.invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return list(wanted) or list(signature.outputs)


def timed_run(
    bundle: Bundle, model: str, api: str, feeds: Mapping[str, Array], fetches: Sequence[str], run_options: bytes
) -> list[Array]:
    """Run the model and record how long TensorFlow took."""
    started = time.monotonic()
    results = bundle.run(feeds, fetches, run_options)
    metrics.runtime_latency.add((time.monotonic() - started) * 1e6, model, api, "TF1")
    return results


def fill_model_spec(spec: Any, model: str, signature_name: str, version: int | None) -> None:
    """Say in a response which model, signature and version answered; warm-up has no version."""
    spec.name = model
    spec.signature_name = signature_name or DEFAULT_SIGNATURE
    if version is not None:
        spec.version.value = version


def names(aliases: Iterable[str]) -> str:
    """Return aliases as messages list them."""
    return "{" + ",".join(sorted(aliases)) + "}"
