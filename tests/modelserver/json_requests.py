"""REST bodies to requests: ``instances``, ``inputs``, ``examples`` (util/json_tensor.cc).

Messages are the original's where a client can tell two causes apart by them; the parser's own wording (RapidJSON's) and the
exact quoting of large values are not reproduced.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.modelserver import status
from tests.modelserver.protos import example_pb2, types_pb2

Format = Literal["row", "columnar"]

_SHOWN_BYTES = 256
_INTEGERS = {
    types_pb2.DT_INT32: ("int_val", -(2**31), 2**31),
    types_pb2.DT_INT16: ("int_val", -(2**31), 2**31),
    types_pb2.DT_INT8: ("int_val", -(2**31), 2**31),
    types_pb2.DT_UINT8: ("int_val", -(2**31), 2**31),
    types_pb2.DT_INT64: ("int64_val", -(2**63), 2**63),
    types_pb2.DT_UINT32: ("uint32_val", 0, 2**32),
    types_pb2.DT_UINT64: ("uint64_val", 0, 2**64),
}
_FLOATS = {types_pb2.DT_FLOAT: "float_val", types_pb2.DT_DOUBLE: "double_val"}


def fill_predict_request(body: bytes, request: Any, inputs_of: Callable[[str], Mapping[str, Any]]) -> Format:
    """Fill a PredictRequest from a body.

    Args:
        inputs_of: Returns the inputs (alias to TensorInfo) of a signature by name; "" is the default one.

    Returns:
        How the answer is to be written.
    """
    document = _parse(body, request)
    infos = inputs_of(request.model_spec.signature_name)
    if not infos:
        shown = request.model_spec.signature_name or "DEFAULT"
        raise status.invalid_argument(f"Failed to get input map for signature: {shown}")
    if "instances" in document and "inputs" in document:
        raise _malformed(document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _malformed(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _malformed(document, "No values in 'instances' array")
        _fill_from_instances(instances, infos, request.inputs)
        return "row"
    if "inputs" in document:
        _fill_from_inputs(document["inputs"], infos, request.inputs)
        return "columnar"
    raise status.invalid_argument("Missing 'inputs' or 'instances' key")


def fill_example_request(body: bytes, request: Any) -> None:
    """Fill a ClassificationRequest or RegressionRequest from a body."""
    document = _parse(body, request)
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise _malformed(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _malformed(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _malformed(document, "'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())


def _parse(body: bytes, request: Any) -> dict[str, Any]:
    if not body:
        raise status.invalid_argument("JSON Parse error: The document is empty")
    try:
        document, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "surrogateescape").lstrip())
    except json.JSONDecodeError as error:
        raise status.invalid_argument(f"JSON Parse error: Invalid value. at offset: {error.pos}") from error
    if not isinstance(document, dict):
        raise _malformed(document, "Is not object")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise _malformed(document, "not formatted correctly. 'signature_name' key must be a string value.")
    request.model_spec.signature_name = signature_name
    return document


def _fill_from_instances(instances: list[Any], infos: Mapping[str, Any], tensors: Any) -> None:
    if not isinstance(instances[0], dict) and len(infos) > 1:
        raise status.invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
        )
    named = _is_object(instances[0])
    only = next(iter(infos))
    shapes: dict[str, list[int]] = {}
    for index, element in enumerate(instances):
        if _is_object(element) != named:
            expected, found = ("object", "list") if named else ("value/list", "object")
            raise status.invalid_argument(f"Expecting {expected} but got {found} at item {index} of input list")
        values = element if named else {only: element}
        for alias, value in values.items():
            where = f" key: {alias}" if named else ""
            try:
                _add_instance(value, alias, infos, shapes, tensors)
            except status.StatusError as error:
                raise status.invalid_argument(
                    f"Failed to process element: {index}{where} of 'instances' list. Error: {error}"
                ) from error
        if values.keys() != infos.keys():
            raise status.invalid_argument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(element)} "
                f"keys must be equal to: {','.join(sorted(infos))}"
            )
    for alias, shape in shapes.items():
        tensors[alias].dtype = infos[alias].dtype
        for size in [len(instances), *shape]:
            tensors[alias].tensor_shape.dim.add(size=size)


def _add_instance(value: Any, alias: str, infos: Mapping[str, Any], shapes: dict[str, list[int]], tensors: Any) -> None:
    if alias not in infos:
        raise status.invalid_argument(f"JSON object: does not have named input: {alias}")
    shape = _shape(value)
    _fill(value, 0, shape, infos[alias].dtype, tensors[alias])
    expected = shapes.setdefault(alias, shape)
    if _size(expected) != _size(shape):
        raise status.invalid_argument(f"Expecting tensor size: {_size(expected)} but got: {_size(shape)}")
    if expected != shape:
        raise status.invalid_argument(f"Expecting shape {_shown_shape(expected)} but got: {_shown_shape(shape)}")


def _fill_from_inputs(value: Any, infos: Mapping[str, Any], tensors: Any) -> None:
    if not _is_object(value):
        if len(infos) > 1:
            raise status.invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
            )
        value = {next(iter(infos)): value}
    for alias, info in infos.items():
        if alias not in value:
            raise status.invalid_argument(f"Missing named input: {alias} in 'inputs' object.")
        shape = _shape(value[alias])
        tensors[alias].dtype = info.dtype
        for size in shape:
            tensors[alias].tensor_shape.dim.add(size=size)
        _fill(value[alias], 0, shape, info.dtype, tensors[alias])


def _shape(value: Any) -> list[int]:
    """Return the shape that the first elements suggest; whether the rest has it is checked while filling."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _fill(value: Any, level: int, shape: list[int], dtype: int, tensor: Any) -> None:
    if isinstance(value, list):
        if level >= len(shape):
            raise status.invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise status.invalid_argument(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        for element in value:
            _fill(element, level + 1, shape, dtype, tensor)
        return
    if level != len(shape):
        raise status.invalid_argument(
            f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
        )
    _add_value(value, dtype, tensor)


def _add_value(value: Any, dtype: int, tensor: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _FLOATS and is_number:
        getattr(tensor, _FLOATS[dtype]).append(value)
    elif dtype in _INTEGERS and is_number and isinstance(value, int):
        field, low, high = _INTEGERS[dtype]
        if not low <= value < high:
            raise _type_error(value, dtype)
        getattr(tensor, field).append(value)
    elif dtype == types_pb2.DT_BOOL and isinstance(value, bool):
        tensor.bool_val.append(value)
    elif dtype == types_pb2.DT_STRING and isinstance(value, str):
        tensor.string_val.append(value.encode("utf-8", "surrogateescape"))
    elif dtype == types_pb2.DT_STRING and isinstance(value, dict):
        tensor.string_val.append(_base64(value))
    elif dtype in _FLOATS or dtype in _INTEGERS or dtype in (types_pb2.DT_BOOL, types_pb2.DT_STRING):
        raise _type_error(value, dtype)
    else:
        raise status.StatusError(
            status.Code.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_shown(value)} to type: {_type_name(dtype)}",
        )


def _fill_example(value: Any, example: example_pb2.Example) -> None:
    if not isinstance(value, dict):
        raise status.invalid_argument(f"Example must be JSON object but got JSON {_json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add_to_feature(element, name, feature)


def _add_to_feature(value: Any, name: str, feature: Any) -> None:
    converted: int | float | bytes
    if isinstance(value, bool):
        kind, converted = "int64_list", int(value)
    elif isinstance(value, int):
        kind, converted = "int64_list", value
    elif isinstance(value, float):
        kind, converted = "float_list", value
    elif isinstance(value, str):
        kind, converted = "bytes_list", value.encode("utf-8", "surrogateescape")
    elif _is_base64(value):
        kind, converted = "bytes_list", _base64(value)
    else:
        raise status.invalid_argument(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        shown = present.removesuffix("_list")
        raise status.invalid_argument(f"Unexpected element type in feature: {name} expecting type: {shown}")
    getattr(feature, kind).value.append(converted)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise status.invalid_argument(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise status.invalid_argument("Unable to base64 decode") from error


def _size(shape: list[int]) -> int:
    size = 1
    for dimension in shape:
        size *= dimension
    return size


def _shown(value: Any) -> str:
    return json.dumps(value)[:_SHOWN_BYTES]


def _shown_shape(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def _type_name(dtype: int) -> str:
    return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()


def _type_error(value: Any, dtype: int) -> status.StatusError:
    return status.invalid_argument(
        f"JSON Value: {_shown(value)} Type: {_json_type(value)} is not of expected type: {_type_name(dtype)}"
    )


def _malformed(document: Any, what: str) -> status.StatusError:
    return status.invalid_argument(f"JSON Value: {_shown(document)} {what}")
