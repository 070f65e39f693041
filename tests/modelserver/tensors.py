"""TensorProto to numpy and back (Tensor::FromProto and AsProtoField in TensorFlow's framework/tensor.cc)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.modelserver import status
from tests.modelserver.protos import types_pb2
from tests.modelserver.tensorflow_c import DTYPES, Array

# The repeated field that carries each type's values.
_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_STRING: "string_val",
}
_PROTO_TYPES = {np.dtype(dtype): number for number, dtype in DTYPES.items()}


def to_array(proto: Any) -> Array:
    """Return the tensor's values.

    Fewer values than elements is legal: the last one fills the rest.

    Raises:
        ValueError: The proto is no tensor (unknown rank, negative size, wrong number of bytes).
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("not a tensor shape")
    size = int(np.prod(shape, dtype=np.int64))
    if proto.dtype == types_pb2.DT_STRING:
        return _fill(list(proto.string_val), size, np.dtype(object), b"").reshape(shape)
    if proto.dtype not in DTYPES or proto.dtype not in _FIELDS:
        raise ValueError(f"type {proto.dtype}")
    dtype = np.dtype(DTYPES[proto.dtype])
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype=dtype).reshape(shape)
    return _fill(getattr(proto, _FIELDS[proto.dtype]), size, dtype, 0).reshape(shape)


def _fill(values: Any, size: int, dtype: np.dtype[Any], default: object) -> Array:
    values = list(values)[:size]
    array = np.empty(size, dtype=dtype)
    array[: len(values)] = values
    array[len(values) :] = values[-1] if values else default
    return array


def from_values(values: object) -> Array:
    """Return Python values as an array: floats as float32, text and bytes as objects."""
    objects = np.asarray(values, dtype=object)
    if any(isinstance(value, str | bytes) for value in objects.ravel()):
        flat = [value.encode() if isinstance(value, str) else value for value in objects.ravel()]
        result = np.empty(len(flat), dtype=object)
        result[:] = flat
        return result.reshape(objects.shape)
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def to_proto(array: Array, proto: Any, as_content: bool = False) -> None:
    """Fill ``proto`` with ``array``; ``as_content`` is --enable_serialization_as_tensor_content."""
    is_string = array.dtype == object
    proto.dtype = types_pb2.DT_STRING if is_string else _PROTO_TYPES[array.dtype]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if as_content and not is_string:
        proto.tensor_content = array.tobytes()
        return
    if proto.dtype not in _FIELDS:
        raise status.StatusError(status.Code.UNIMPLEMENTED, f"the stand-in cannot return tensors of type {array.dtype}")
    getattr(proto, _FIELDS[proto.dtype]).extend(array.ravel().tolist())
