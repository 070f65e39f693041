"""Where fuzzing begins: files that TensorFlow wrote, and warmup requests of every kind."""

from __future__ import annotations

import struct

from google.protobuf import text_format

from tests import savedmodels
from tests.fuzz import targets
from tests.modelserver.protos import classification_pb2, inference_pb2, predict_pb2, regression_pb2, saved_model_pb2, tensor_pb2


def corpus() -> dict[str, list[bytes]]:
    """Return the seeds of every target."""
    models = [savedmodels.cache() / kind for kind in sorted(savedmodels.KINDS)]
    found = [model / "variables/variables.index" for model in models]
    indexes = [index.read_bytes() for index in found if index.exists()]  # not all have variables
    logs = [record.SerializeToString() for record in _records()]
    frames = [savedmodels.framed(log) for log in logs]
    return {
        "saved_model": [(model / "saved_model.pb").read_bytes() for model in models],
        "saved_model_text": [_text()],
        "index": indexes,
        "index_block": [_first_block(index) for index in indexes],
        "records": [*frames, b"".join(frames), frames[0] + b"tail", b""],
        "warmup_file": [*frames, b"".join(frames), frames[0] + b"tail", b""],
        "warmup_record": logs,
        "tensor": [tensor.SerializeToString() for tensor in _tensors()],
        "answer": [answer.SerializeToString() for answer in _answers()],
    }


def _tensors() -> list:
    made = [
        tensor_pb2.TensorProto(dtype=1, float_val=[1.0, 2.0]),
        tensor_pb2.TensorProto(dtype=2, tensor_content=struct.pack("<2d", 1.0, float("nan"))),
        tensor_pb2.TensorProto(dtype=7, string_val=[b"a", b"bc"]),
        tensor_pb2.TensorProto(dtype=7, tensor_content=b"\1\2abc"),
        tensor_pb2.TensorProto(dtype=8, scomplex_val=[1.0, 2.0]),
        tensor_pb2.TensorProto(dtype=9, int64_val=[-1, 2**62]),
        tensor_pb2.TensorProto(dtype=14, half_val=[16256]),
        tensor_pb2.TensorProto(dtype=25, float8_val=b"\x38\x7f"),
        tensor_pb2.TensorProto(dtype=29, int_val=[-8, 7]),
    ]
    for tensor in made:
        tensor.tensor_shape.dim.add(size=1)
        tensor.tensor_shape.dim.add(size=2)
    return made


def _answers() -> list:
    predicted = predict_pb2.PredictResponse()
    for number, tensor in enumerate(_tensors()):
        predicted.outputs[f"y{number}"].CopyFrom(tensor)
    classified, regressed = classification_pb2.ClassificationResponse(), regression_pb2.RegressionResponse()
    classified.result.classifications.add().classes.add(label="cat", score=0.5)
    regressed.result.regressions.add(value=2.5)
    several = inference_pb2.MultiInferenceResponse()
    several.results.add().classification_result.CopyFrom(classified.result)
    several.results.add().regression_result.CopyFrom(regressed.result)
    return [predicted, classified, regressed, several]


def _records() -> list:
    predict, examples = savedmodels.predict_record, savedmodels.example_record
    filtered = predict("serving_default", x=[1.0, 2.0])
    filtered.predict_log.request.output_filter.append("y")
    multi = examples("classify", "", 1.0)
    tasks = type(multi)()
    tasks.multi_inference_log.request.input.CopyFrom(multi.classify_log.request.input)
    for name in ("classify", "regress"):
        task = tasks.multi_inference_log.request.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "m", f"{name}_x_to_y"
    session = type(multi)()
    session.session_run_log.request.feed.add(name="x")
    return [
        predict(x=[1.0]), predict(x=[[1.0, 2.0]]), predict(x=[1]), predict("nope", x=[1.0]), predict(wrong=[1.0]), filtered,
        predict(x=["a", "b"]), examples("classify", "classify_x_to_y", 1.0, 2.0), examples("regress", "regress_x_to_y", 1.0), tasks,
        session, type(multi)(),
    ]  # fmt: skip


def _text() -> bytes:
    """A model as text, without most of its graph: the parser in Python takes its time."""
    model = saved_model_pb2.SavedModel.FromString((savedmodels.cache() / "text" / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0]
    graph.ClearField("object_graph_def")
    graph.meta_info_def.ClearField("stripped_op_list")
    del graph.graph_def.node[2:]
    del graph.graph_def.library.function[1:]
    del graph.graph_def.library.function[0].node_def[2:]
    return text_format.MessageToString(model).encode()


def _first_block(index: bytes) -> bytes:
    """The data block of a small index: what is before the meta index, which the footer points at first."""
    return index[: targets.wire.varint(index, len(index) - 48)[0] - 5]
