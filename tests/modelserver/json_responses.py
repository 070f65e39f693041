"""Responses to REST bodies, in the original's layout (util/json_tensor.cc, model_servers/http_rest_api_util.cc)."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format

from tests.modelserver import status, tensors
from tests.modelserver.json_requests import Format
from tests.modelserver.protos import get_model_metadata_pb2
from tests.modelserver.tensorflow_c import Array

_INDENT = "    "


def predictions(outputs: Mapping[str, Any], layout: Format) -> str:
    """Return ``{"predictions": …}`` (rows) or ``{"outputs": …}`` (columns).

    A single output is written without its name. In rows all outputs must have the same 0th dimension.
    """
    arrays = {alias: tensors.to_array(proto) for alias, proto in outputs.items()}
    if layout == "columnar":
        texts = {alias: _value(array.tolist(), array, _as_bytes(alias, array)) for alias, array in arrays.items()}
        return _object({"outputs": next(iter(texts.values())) if len(texts) == 1 else _object(texts, 1)})
    size = _batch_size(arrays)
    rows = []
    for index in range(size):
        texts = {
            alias: _value(array[index].tolist() if array.ndim > 1 else array[index], array, _as_bytes(alias, array))
            for alias, array in arrays.items()
        }
        rows.append(next(iter(texts.values())) if len(texts) == 1 else "\n" + _INDENT * 2 + _object(texts, 2))
    return _object({"predictions": _list(rows)})


def _batch_size(arrays: Mapping[str, Array]) -> int:
    size = -1
    for alias, array in arrays.items():
        if array.ndim == 0:
            raise status.invalid_argument(f"Tensor name: {alias} has no shape information ")
        if size >= 0 and size != array.shape[0]:
            raise status.invalid_argument(f"Tensor name: {alias} has inconsistent batch size: {array.shape[0]} expecting: {size}")
        size = array.shape[0]
    return size


def classifications(result: Any) -> str:
    """Return ``{"results": [[["label", score], …], …]}``."""
    rows = [
        "[" + ", ".join(f"[{json.dumps(entry.label)}, {_decimal(np.float32(entry.score))}]" for entry in row.classes) + "]"
        for row in result.classifications
    ]
    if not rows:
        raise status.invalid_argument("Cannot convert empty ClassificationResults to JSON")
    return _object({"results": _list(rows)})


def regressions(result: Any) -> str:
    """Return ``{"results": [value, …]}``."""
    values = [_decimal(np.float32(regression.value)) for regression in result.regressions]
    if not values:
        raise status.invalid_argument("Cannot convert empty RegressionResults to JSON")
    return _object({"results": _list(values)})


def model_status(states: list[dict[str, Any]]) -> str:
    """Return ``{"model_version_status": […]}``; the version is a string, as JSON has it for 64-bit integers."""
    text = json.dumps({"model_version_status": states}, indent=1, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n"


def metadata(response: Any) -> str:
    """Return ``{"model_spec": …, "metadata": {"signature_def": …}}``."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)

    def text(message: Any) -> str:
        return json_format.MessageToJson(
            message, indent=1, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    return f'{{\n"model_spec":{text(response.model_spec)},\n"metadata": {{"signature_def": {text(signatures)}}}\n}}\n'


def error(failure: status.StatusError) -> str:
    """Return ``{"error": "…"}``."""
    message = status.to_bytes(failure.message).decode("utf-8", "replace")
    return _object({"error": json.dumps(message, ensure_ascii=False)})


def _as_bytes(alias: str, array: Array) -> bool:
    return array.dtype == object and alias.endswith("_bytes")


def _value(value: Any, array: Array, as_bytes: bool) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(element, array, as_bytes) for element in value) + "]"
    if array.dtype == object:
        if as_bytes:
            return f'{{"b64": "{base64.b64encode(value).decode()}"}}'
        return json.dumps(value.decode("utf-8", "replace"), ensure_ascii=False)
    if array.dtype == np.bool_:
        return "true" if value else "false"
    if array.dtype in (np.float32, np.float64):
        return _decimal(array.dtype.type(value))
    if array.dtype.kind in "iu":
        return str(int(value))
    raise status.invalid_argument(f"Failed to write JSON value for tensor type: {array.dtype}")


def _decimal(number: Any) -> str:
    """Return a float in six digits if these are enough to get it back, else in all it has; always with a ``.`` or ``e``."""
    value = float(number)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if type(number)(text) != number:
        text = f"{value:.{9 if isinstance(number, np.float32) else 17}g}"
    return text if "." in text or "e" in text else text + ".0"


def _list(elements: list[str]) -> str:
    return "[" + ", ".join(elements) + "\n" + _INDENT + "]"  # the writer leaves its one-line mode just before the end


def _object(members: Mapping[str, str], depth: int = 0) -> str:
    inner = _INDENT * (depth + 1)
    lines = ",\n".join(f"{inner}{json.dumps(name)}: {text}" for name, text in members.items())
    return "{\n" + lines + "\n" + _INDENT * depth + "}"
