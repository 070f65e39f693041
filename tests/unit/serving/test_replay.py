"""Requests keep everything they say but whom they are for, and answers are read whole; seen with TensorFlow Serving's protos."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import savedmodels
from tests.modelserver.protos import classification_pb2, inference_pb2, predict_pb2, prediction_log_pb2, regression_pb2
from tfmodel_serving import replay, wire
from tfmodel_serving.tensors import Undecodable

LOGS = {
    "Predict": savedmodels.predict_record("other", model="m", x=[1.0, 2.0]),
    "Classify": savedmodels.example_record("classify", "classify_x_to_y", 1.0, 2.0),
    "Regress": savedmodels.example_record("regress", "regress_x_to_y", 1.0),
}


def multi_inference_log(*methods):
    log = prediction_log_pb2.PredictionLog()
    request = log.multi_inference_log.request
    for method in methods:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "any", f"{method}_x_to_y"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    return log


LOGS["MultiInference"] = multi_inference_log("classify", "regress")


def original_request(log):
    return getattr(getattr(log, log.WhichOneof("log_type")), "request")  # noqa: B009


@pytest.mark.parametrize("method", LOGS)
@pytest.mark.parametrize("label", ["", "stable"])
def test_a_request_is_sent_to_one_version_and_says_what_it_said(method, label):
    log = type(LOGS[method]).FromString(LOGS[method].SerializeToString())
    wanted = original_request(log)
    specs = [task.model_spec for task in wanted.tasks] if method == "MultiInference" else [wanted.model_spec]
    for spec in specs:
        if label:
            spec.version_label = label
    request = replay.request(log.SerializeToString())
    assert request is not None
    assert request.method == method
    assert request.signature == specs[0].signature_name
    for model, version in (("half--candidate", 2), ("half", 1)):
        for spec in specs:
            spec.name, spec.version.value = model, version
        assert type(wanted).FromString(request.addressed(model, version)) == wanted


def test_an_empty_record_holds_no_request():
    assert replay.request(b"") is None


def test_what_is_no_record():
    with pytest.raises(wire.Malformed):
        replay.request(b"\xff")


def request(method, signature=""):
    log = type(LOGS[method]).FromString(LOGS[method].SerializeToString())
    if method != "MultiInference":
        original_request(log).model_spec.signature_name = signature
    return replay.request(log.SerializeToString())


def values(outputs):
    return {name: (tensor.shape, list(tensor.values)) for name, tensor in outputs.items()}


@pytest.mark.parametrize(("signature", "name"), [("", "y"), ("serving_default", "y"), ("other", "other/y")])
def test_the_outputs_of_predict(signature, name):
    answer = predict_pb2.PredictResponse()
    answer.outputs["y"].dtype = 1
    answer.outputs["y"].tensor_shape.dim.add(size=2)
    answer.outputs["y"].float_val.extend([1.0, 2.0])
    assert values(replay.outputs(request("Predict", signature), answer.SerializeToString())) == {name: ((2,), [1.0, 2.0])}


def classified(result, *rows):
    for row in rows:
        one = result.classifications.add()
        for label, score in row.items():
            one.classes.add(label=label, score=score)


def test_the_outputs_of_classify():
    answer = classification_pb2.ClassificationResponse()
    classified(answer.result, {"cat": 0.5, "dog": 0.25}, {"cat": 1.0, "dog": 0.0})
    assert values(replay.outputs(request("Classify"), answer.SerializeToString())) == {
        "classes": ((2, 2), [b"cat", b"dog", b"cat", b"dog"]),
        "scores": ((2, 2), [0.5, 0.25, 1.0, 0.0]),
    }


def test_classes_of_different_number_are_not_read():
    answer = classification_pb2.ClassificationResponse()
    classified(answer.result, {"cat": 0.5}, {"cat": 1.0, "dog": 0.0})
    with pytest.raises(Undecodable, match="different numbers"):
        replay.outputs(request("Classify"), answer.SerializeToString())


def test_the_outputs_of_regress():
    answer = regression_pb2.RegressionResponse()
    answer.result.regressions.add(value=2.5)
    answer.result.regressions.add(value=3.5)
    assert values(replay.outputs(request("Regress", "r"), answer.SerializeToString())) == {"r/outputs": ((2,), [2.5, 3.5])}


def test_the_outputs_of_multi_inference():
    answer = inference_pb2.MultiInferenceResponse()
    first, second = answer.results.add(), answer.results.add()
    first.model_spec.signature_name, second.model_spec.signature_name = "c", "r"
    classified(first.classification_result, {"": 0.5})
    second.regression_result.regressions.add(value=2.5)
    assert values(replay.outputs(request("MultiInference"), answer.SerializeToString())) == {
        "c/classes": ((1, 1), [b""]), "c/scores": ((1, 1), [0.5]), "r/outputs": ((1,), [2.5]),
    }  # fmt: skip


def test_the_output_that_can_not_be_read_is_named():
    answer = predict_pb2.PredictResponse()
    answer.outputs["state"].dtype = 20
    with pytest.raises(Undecodable, match="output state: its type DT_RESOURCE has no values"):
        replay.outputs(request("Predict"), answer.SerializeToString())


@given(st.sampled_from(sorted(LOGS)), st.binary(max_size=200))
def test_any_answer_is_outputs_or_a_reason(method, answer):
    with contextlib.suppress(Undecodable):
        replay.outputs(request(method), answer)
