"""Classify, Regress and MultiInference: models that take tf.Examples.

Sources: servables/tensorflow/{classifier,regressor,multi_inference,util}.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.modelserver import inference, status
from tests.modelserver.bundle import Bundle
from tests.modelserver.protos import classification_pb2, inference_pb2, regression_pb2
from tests.modelserver.tensorflow_c import Array


def classify(bundle: Bundle, version: int | None, request: Any, run_options: bytes = b"") -> Any:
    """Run a ClassificationRequest."""
    signature = _example_signature(bundle, request.model_spec, inference.CLASSIFY, "classification", _classify_names)
    feed, fetches = _classify_names(signature)
    examples = _examples(request.input)
    results = inference.timed_run(bundle, request.model_spec.name, "Classify", {feed: examples}, fetches, run_options)
    response = classification_pb2.ClassificationResponse()
    inference.fill_model_spec(response.model_spec, request.model_spec.name, request.model_spec.signature_name, version)
    _fill_classifications(response.result, signature, dict(zip(fetches, results, strict=True)), len(examples))
    return response


def regress(bundle: Bundle, version: int | None, request: Any, run_options: bytes = b"") -> Any:
    """Run a RegressionRequest."""
    signature = _example_signature(bundle, request.model_spec, inference.REGRESS, "regression", _regress_names)
    feed, fetches = _regress_names(signature)
    examples = _examples(request.input)
    results = inference.timed_run(bundle, request.model_spec.name, "Regress", {feed: examples}, fetches, run_options)
    response = regression_pb2.RegressionResponse()
    inference.fill_model_spec(response.model_spec, request.model_spec.name, request.model_spec.signature_name, version)
    _fill_regressions(response.result, results[0], len(examples))
    return response


def multi_inference(bundle: Bundle, version: int | None, request: Any, run_options: bytes = b"") -> Any:
    """Run a MultiInferenceRequest: several classify and regress signatures of one model over the same examples."""
    tasks = []
    names: set[str] = set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise status.invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise status.invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or inference.DEFAULT_SIGNATURE
        if name in names:
            raise status.invalid_argument(f"Duplicate evaluation of signature: {name}")
        names.add(name)
        if name not in bundle.signatures:
            raise status.invalid_argument(f"Requested signature not found in model graph: {name}")
        names_of = {inference.CLASSIFY: _classify_names, inference.REGRESS: _regress_names}.get(task.method_name)
        if names_of is None:
            raise status.StatusError(status.Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        tasks.append((task, bundle.signatures[name], *names_of(bundle.signatures[name])))
    examples = _examples(request.input)
    fetches = sorted({fetch for _, _, _, outputs in tasks for fetch in outputs})
    results = dict(zip(fetches, bundle.run({feed: examples for _, _, feed, _ in tasks}, fetches, run_options), strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task, signature, _, outputs in tasks:
        result = response.results.add()
        if task.method_name == inference.CLASSIFY:
            _fill_classifications(result.classification_result, signature, results, len(examples))
        else:
            _fill_regressions(result.regression_result, results[outputs[0]], len(examples))
        inference.fill_model_spec(result.model_spec, task.model_spec.name, task.model_spec.signature_name, version)
    return response


def _example_signature(bundle: Bundle, spec: Any, method: str, what: str, check: Callable[[Any], tuple[str, list[str]]]) -> Any:
    name = spec.signature_name or inference.DEFAULT_SIGNATURE
    signature = bundle.signatures.get(name)
    if signature is None:
        raise status.invalid_argument(f"No signature was found with the name: {name}")
    if inference.check_method_names and signature.method_name != method:
        raise status.invalid_argument(f"Expected {what} signature method_name to be {method}. Was: {signature.method_name}")
    check(signature)
    return signature


def _classify_names(signature: Any) -> tuple[str, list[str]]:
    if len(signature.inputs) != 1:
        raise status.invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise status.invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise status.invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    outputs = [signature.outputs[alias].name for alias in ("classes", "scores") if alias in signature.outputs]
    if not outputs:
        raise status.invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )
    return signature.inputs["inputs"].name, outputs


def _regress_names(signature: Any) -> tuple[str, list[str]]:
    if len(signature.inputs) != 1:
        raise status.invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise status.invalid_argument("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise status.invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise status.invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs["inputs"].name, [signature.outputs["outputs"].name]


def _examples(request_input: Any) -> Array:
    """Return the examples as a vector of serialised ones; a context goes in front of each."""
    kind = request_input.WhichOneof("kind")
    examples: list[bytes] = []
    if kind == "example_list":
        examples = [example.SerializeToString() for example in request_input.example_list.examples]
    elif kind == "example_list_with_context":
        context = request_input.example_list_with_context.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in request_input.example_list_with_context.examples]
    if not examples:
        raise status.invalid_argument("Input is empty.")
    array = np.empty(len(examples), dtype=object)
    array[:] = examples
    return array


def _fill_classifications(result: Any, signature: Any, outputs: Mapping[str, Array], examples: int) -> None:
    classes, scores = (
        outputs.get(signature.outputs[alias].name) if alias in signature.outputs else None for alias in ("classes", "scores")
    )
    for what, array, wanted in (("classes", classes, object), ("scores", scores, np.float32)):
        if array is None:
            continue
        if array.ndim != 2:
            raise status.invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if array.dtype != wanted:
            expected = "DT_STRING" if wanted is object else "DT_FLOAT"
            raise status.invalid_argument(f"Expected {what} Tensor of {expected}. Got: {array.dtype}")
        if array.shape[0] != examples:
            raise status.invalid_argument(f"Expected {what} output batch size of {examples}. Got: {array.shape[0]}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise status.invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    for row in range(examples):
        classification = result.classifications.add()
        for column in range(width):
            entry = classification.classes.add()
            if classes is not None:
                entry.label = classes[row, column]
            if scores is not None:
                entry.score = scores[row, column]


def _fill_regressions(result: Any, array: Array, examples: int) -> None:
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise status.invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(array)}"
        )
    if array.shape[0] != examples:
        raise status.invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {array.shape[0]}")
    if array.dtype != np.float32:
        raise status.invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {array.dtype}")
    for value in array.ravel().tolist():
        result.regressions.add(value=value)


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
