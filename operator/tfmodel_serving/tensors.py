"""Tensors of a model server's answers as plain Python values, without TensorFlow or numpy.

Source: tensorflow/tensorflow, core/framework/{tensor.proto,tensor.cc} (Tensor::FromProto): the values are in
``tensor_content``, or in the field of their type, where the last one stands for all that are left out; a surplus is ignored.
Content is little endian, as are all machines TensorFlow Serving runs on.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from tfmodel_serving import signatures, wire
from tfmodel_serving.protos import answers_pb2 as pb

MAX_NUMBERS = 1 << 20
MAX_STRINGS = 1 << 18
"""Elements of one tensor, by what they are: two such tensors take some 50 MB of memory until they are compared."""

_STORED = (
    ("f", "float_val", "FLOAT"),
    ("d", "double_val", "DOUBLE"),
    ("b", "int_val", "INT8 QINT8 INT4 INT2"),
    ("B", "int_val", "UINT8 QUINT8 UINT4 UINT2"),
    ("h", "int_val", "INT16 QINT16"),
    ("H", "int_val", "UINT16 QUINT16"),
    ("i", "int_val", "INT32 QINT32"),
    ("I", "uint32_val", "UINT32"),
    ("q", "int64_val", "INT64"),
    ("Q", "uint64_val", "UINT64"),
    ("B", "bool_val", "BOOL"),
    ("H", "half_val", "HALF BFLOAT16"),
    ("f", "scomplex_val", "COMPLEX64"),
    ("d", "dcomplex_val", "COMPLEX128"),
    ("B", "float8_val", "FLOAT8_E5M2 FLOAT8_E4M3FN FLOAT8_E4M3FNUZ FLOAT8_E4M3B11FNUZ FLOAT8_E5M2FNUZ FLOAT4_E2M1FN"),
)
"""How the values of a type are stored: the type code of :mod:`array`, and the field that holds them where there is no content."""
_STORAGE = {f"DT_{name}": (code, field) for code, field, names in _STORED for name in names.split()}


class Undecodable(ValueError):
    """A tensor that can't be read: no tensor, of a type that has no values, or too large; the message says which."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Args:
        dtype: As TensorFlow names it, ``DT_FLOAT``.
        values: In row-major order: an array of numbers, or a list of bytes.
        parts: Numbers that make one value: two of a complex number, the real and the imaginary part.
    """

    dtype: str
    shape: tuple[int, ...]
    values: Sequence[Any]
    parts: int = 1

    @property
    def is_exact(self) -> bool:
        """Whether its values are what they are: strings, integers (quantised ones as well), booleans."""
        return not self.is_float and self.parts == 1

    @property
    def is_float(self) -> bool:
        """Whether its values are real numbers, of any precision."""
        return self.dtype == "DT_DOUBLE" or self.dtype.startswith(("DT_FLOAT", "DT_HALF", "DT_BFLOAT16"))


def tensor(proto: pb.TensorProto) -> Tensor:
    """Return the values of a TensorProto.

    Raises:
        Undecodable: See there.
    """
    dtype = signatures.dtype_name(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise Undecodable("it has no valid shape")
    size = math.prod(shape)
    check_size(size, MAX_STRINGS if dtype == "DT_STRING" else MAX_NUMBERS)
    if dtype == "DT_STRING":
        return Tensor(dtype, shape, _strings(proto, size))
    if dtype not in _STORAGE:
        raise Undecodable(f"its type {dtype} has no values")
    parts = 2 if dtype.startswith("DT_COMPLEX") else 1
    return Tensor(dtype, shape, _as_numbers(dtype, _numbers(proto, *_STORAGE[dtype], size, parts)), parts)


def check_size(size: int, limit: int) -> None:
    """Refuse what would take too much memory.

    Raises:
        Undecodable: There are more than ``limit`` elements.
    """
    if size > limit:
        raise Undecodable(f"it has {size} elements; up to {limit} are compared")


def floats(shape: tuple[int, ...], values: Iterable[float]) -> Tensor:
    """Return a tensor of the type DT_FLOAT."""
    return Tensor("DT_FLOAT", shape, array("f", values))


def _numbers(proto: pb.TensorProto, code: str, field: str, size: int, parts: int) -> array[Any]:
    """Return ``size`` values of ``parts`` numbers each, as they are stored."""
    found: array[Any] = array(code)
    if proto.tensor_content:
        expected = size * parts * found.itemsize
        if len(proto.tensor_content) != expected:
            raise Undecodable(f"it has {len(proto.tensor_content)} bytes of content instead of {expected}")
        found.frombytes(proto.tensor_content)
        return found
    try:
        found.extend(itertools.islice(getattr(proto, field), size * parts))
    except OverflowError as error:
        raise Undecodable(f"a value does not fit its type: {error}") from error
    if len(found) % parts:
        raise Undecodable("half of its last value is missing")
    last = found[-parts:] or array(code, [0] * parts)
    return found + last * (size - len(found) // parts)


def _strings(proto: pb.TensorProto, size: int) -> list[bytes]:
    if proto.tensor_content:
        return _packed_strings(proto.tensor_content, size)
    found = list(proto.string_val[:size])
    return found + (found[-1:] or [b""]) * (size - len(found))


def _packed_strings(content: bytes, size: int) -> list[bytes]:
    """Read the lengths of all strings, as varints, and then the strings (port::EncodeStringList)."""
    lengths, at = [], 0
    try:
        for _ in range(size):
            length, at = wire.varint(content, at)
            lengths.append(length)
    except wire.Malformed as error:
        raise Undecodable("its content does not hold as many strings as it should") from error
    ends = list(itertools.accumulate(lengths, initial=at))
    if ends[-1] != len(content):
        raise Undecodable(f"its strings take {ends[-1]} bytes of content, and it has {len(content)}")
    return [content[start:end] for start, end in itertools.pairwise(ends)]


def _as_numbers(dtype: str, stored: array[Any]) -> array[Any]:
    """Return the numbers that are meant where C has no type for them."""
    match dtype:
        case "DT_INT4" | "DT_INT2" | "DT_UINT4" | "DT_UINT2":  # a byte each, of which the upper bits mean nothing
            bits = int(dtype[-1])
            sign = 1 << bits - 1 if "UINT" not in dtype else 0
            return array(stored.typecode, (((number & (1 << bits) - 1) ^ sign) - sign for number in stored))
        case "DT_HALF":
            return array("f", struct.unpack(f"<{len(stored)}e", stored.tobytes()))
        case "DT_BFLOAT16":
            widened = array("f")
            widened.frombytes(array("I", (bits << 16 for bits in stored)).tobytes())
            return widened
        case "DT_FLOAT8_E5M2":
            return array("f", struct.unpack(f"<{len(stored)}e", array("H", (bits << 8 for bits in stored)).tobytes()))
        case narrow if narrow in _NARROW:
            return array("f", map(_table(narrow).__getitem__, stored))
        case _:
            return stored


_NARROW = {
    "DT_FLOAT8_E4M3FN": (4, 3, 7, {0x7F, 0xFF}),
    "DT_FLOAT8_E4M3FNUZ": (4, 3, 8, {0x80}),
    "DT_FLOAT8_E4M3B11FNUZ": (4, 3, 11, {0x80}),
    "DT_FLOAT8_E5M2FNUZ": (5, 2, 16, {0x80}),
    "DT_FLOAT4_E2M1FN": (2, 1, 1, set[int]()),
}
"""Bits of exponent and mantissa, bias, and the codes that mean NaN, of the floats without infinities.

Source: jax-ml/ml_dtypes, README and ml_dtypes/include/float8.h.
"""


@functools.cache
def _table(dtype: str) -> list[float]:
    """Return the number of each of the 256 codes; bits beyond the type's are ignored."""
    exponent_bits, mantissa_bits, bias, nans = _NARROW[dtype]
    numbers = []
    for code in range(256):
        mantissa = code & (1 << mantissa_bits) - 1
        exponent = code >> mantissa_bits & (1 << exponent_bits) - 1
        sign = -1.0 if code >> mantissa_bits + exponent_bits & 1 else 1.0
        significand = mantissa if exponent == 0 else mantissa + (1 << mantissa_bits)
        number = sign * math.ldexp(significand, max(exponent, 1) - bias - mantissa_bits)
        numbers.append(math.nan if code in nans else number)
    return numbers
