"""Our reading of tensors is TensorFlow's: whatever TensorFlow writes, in each of its forms, is read as TensorFlow reads it."""

from __future__ import annotations

import contextlib
import struct

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfmodel_serving import tensors
from tfmodel_serving.protos import answers_pb2 as pb
from tfmodel_serving.protos import saved_model_pb2
from tfmodel_serving.tensors import Undecodable

NARROW_INTEGERS = {"DT_INT4": (-8, 7), "DT_UINT4": (0, 15), "DT_INT2": (-2, 1), "DT_UINT2": (0, 3)}
CONTENT_ONLY = [f"DT_FLOAT8_{name}" for name in ("E4M3FNUZ", "E4M3B11FNUZ", "E5M2FNUZ")]
"""Types that TensorFlow's Python can't write into fields."""
DTYPES = [
    *(f"DT_{name}" for name in ["FLOAT", "DOUBLE", "HALF", "BFLOAT16", "COMPLEX64", "COMPLEX128", "BOOL"]),
    *(f"DT_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    *(f"DT_{name}" for name in ["QINT8", "QUINT8", "QINT16", "QUINT16", "QINT32"]),
    *(f"DT_{name}" for name in ["FLOAT8_E5M2", "FLOAT8_E4M3FN", "FLOAT4_E2M1FN"]),
    *NARROW_INTEGERS,
    *CONTENT_ONLY,
]


@pytest.fixture(autouse=True, scope="module")
def tensorflow():
    """Imported before anything is timed, and not when tests are only collected."""
    import tensorflow

    return tensorflow


def tensor_flows_type(dtype):
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    return tf.dtypes.as_dtype(types_pb2.DataType.Value(dtype))


def arrays_of(dtype):
    """Any shape and any values of a type; floats are drawn by their bits, so that there are NaN of all kinds among them."""
    kind = np.dtype(tensor_flows_type(dtype).as_numpy_dtype)
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    if dtype in NARROW_INTEGERS:
        return arrays.arrays(np.int8, shapes, elements=st.integers(*NARROW_INTEGERS[dtype])).map(lambda drawn: drawn.astype(kind))
    if dtype == "DT_BOOL":
        return arrays.arrays(kind, shapes)
    largest = 15 if dtype == "DT_FLOAT4_E2M1FN" else 255
    drawn = shapes.flatmap(lambda shape: arrays.arrays(np.uint8, (*shape, kind.itemsize), elements=st.integers(0, largest)))
    return drawn.map(lambda drawn: drawn.view(kind).reshape(drawn.shape[:-1]))


def tensor_flows_proto(array, dtype, share):
    """Return the proto TensorFlow writes: the values as content, or the first ``share`` of them in the field of their type."""
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
    from tensorflow.python.framework import tensor_util

    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    shape = tensor_shape_pb2.TensorShapeProto(dim=dims)
    made = tensor_pb2.TensorProto(dtype=tensor_flows_type(dtype).as_datatype_enum, tensor_shape=shape)
    if share is None:
        made.tensor_content = array.tobytes()
    else:
        tensor_util.GetNumpyAppendFn(array.dtype)(made, array.ravel()[: round(share * array.size)])
    return made


def decoded(theirs):
    return tensors.tensor(pb.TensorProto.FromString(theirs.SerializeToString()))


def proto(dtype, shape, **fields):
    made = pb.TensorProto(dtype=dtype, **fields)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def numbers(array):
    """Return numpy's values as ours are: real and imaginary parts one after the other."""
    flat = array.ravel()
    if flat.dtype.names:  # TensorFlow's quantised types: records of one integer
        flat = flat.view(flat.dtype[0])
    if flat.dtype.kind == "c":
        flat = flat.view(np.float32 if flat.dtype.itemsize == 8 else np.float64)
    if flat.dtype.kind == "f" or flat.dtype.name.startswith(("bfloat", "float")):
        with np.errstate(invalid="ignore"):  # of signalling NaN
            return flat.astype(np.float64).tolist()
    return flat.astype(np.uint64 if flat.dtype.kind == "u" else np.int64).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@given(st.data())
def test_every_type_is_read_as_tensorflow_reads_it(dtype, data):
    import tensorflow as tf

    array = data.draw(arrays_of(dtype))
    share = data.draw(st.just(None) if dtype in CONTENT_ONLY else st.none() | st.sampled_from([1.0, 0.5]))
    written = tensor_flows_proto(array, dtype, share)
    found = decoded(written)
    if share == 0.5:
        read = filled(array, round(share * array.size)) if dtype.startswith("DT_COMPLEX") else tf.make_ndarray(written)
    else:
        read = array
    assert (found.dtype, found.shape) == (dtype, array.shape)
    assert found.parts == (2 if dtype.startswith("DT_COMPLEX") else 1)
    assert repr(list(found.values)) == repr(numbers(read))  # repr: NaN is NaN, and -0.0 not 0.0


def filled(array, count):
    """Fill up with the last of the first ``count`` values, or with zeros: TensorFlow's Python fails on complex numbers there."""
    flat = array.ravel()
    fill = np.zeros(1, array.dtype) if not count else flat[count - 1 : count]
    return np.concatenate([flat[:count], np.repeat(fill, array.size - count)]).reshape(array.shape)


@given(st.lists(st.binary(max_size=20), max_size=6), st.booleans())
def test_strings_are_read_in_both_forms(values, as_content):
    import tensorflow as tf

    written = tf.make_tensor_proto(values, dtype=tf.string, shape=[len(values)])
    if as_content:  # EncodeStringList, which --enable_serialization_as_tensor_content has for strings
        del written.string_val[:]
        written.tensor_content = b"".join(bytes([len(value)]) for value in values) + b"".join(values)
    assert decoded(written).values == values


def test_the_last_string_stands_for_all_that_are_left_out():
    assert tensors.tensor(proto(7, [4], string_val=[b"a", b"b"])).values == [b"a", b"b", b"b", b"b"]
    assert tensors.tensor(proto(7, [4])).values == [b""] * 4


def test_a_surplus_of_values_is_ignored():
    assert list(tensors.tensor(proto(1, [2], float_val=[1.0, 2.0, 3.0])).values) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("dtype", "narrow"),
    [
        ("DT_FLOAT8_E5M2", ml_dtypes.float8_e5m2),
        ("DT_FLOAT8_E4M3FN", ml_dtypes.float8_e4m3fn),
        ("DT_FLOAT8_E4M3FNUZ", ml_dtypes.float8_e4m3fnuz),
        ("DT_FLOAT8_E4M3B11FNUZ", ml_dtypes.float8_e4m3b11fnuz),
        ("DT_FLOAT8_E5M2FNUZ", ml_dtypes.float8_e5m2fnuz),
    ],
)
def test_all_numbers_of_eight_bits(dtype, narrow):
    made = proto(saved_model_pb2.DataType.Value(dtype), [256], tensor_content=bytes(range(256)))
    expected = np.arange(256, dtype=np.uint8).view(narrow).astype(np.float64)
    assert repr(list(tensors.tensor(made).values)) == repr(expected.tolist())


def test_all_numbers_of_sixteen_bits():
    codes = np.arange(2**16, dtype=np.uint16)
    for dtype, kind in (("DT_HALF", np.float16), ("DT_BFLOAT16", ml_dtypes.bfloat16)):
        number = saved_model_pb2.DataType.Value(dtype)
        found = tensors.tensor(proto(number, [2**16], tensor_content=codes.tobytes()))
        assert repr(list(found.values)) == repr(numbers(codes.view(kind)))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param(proto(1, [-1]), "no valid shape", id="a negative size"),
        pytest.param(pb.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "no valid shape", id="no rank"),
        pytest.param(proto(1, [2**40], float_val=[1.0]), "up to 1048576 are compared", id="one value for a tera of elements"),
        pytest.param(proto(7, [2**20], string_val=[b""]), "up to 262144 are compared", id="more strings than memory should hold"),
        pytest.param(proto(1, [2**62, 2**62, 0, 2**62]), None, id="huge, and empty"),
        pytest.param(proto(0, []), "DT_INVALID has no values", id="no type"),
        pytest.param(proto(20, []), "DT_RESOURCE has no values", id="a resource"),
        pytest.param(proto(9999, []), "9999 has no values", id="a type of the future"),
        pytest.param(proto(1, [2], tensor_content=b"\0" * 7), "7 bytes of content instead of 8", id="short content"),
        pytest.param(proto(4, [1], int_val=[300]), "does not fit", id="a value that its type can't have"),
        pytest.param(proto(8, [1], scomplex_val=[1.0]), "half of its last value", id="half a complex number"),
        pytest.param(proto(7, [3], tensor_content=b"\1"), "as many strings", id="too few packed strings"),
        pytest.param(proto(7, [1], tensor_content=b"\5abc"), "take 6 bytes", id="packed strings that are cut"),
        pytest.param(proto(7, [1], tensor_content=b"\xff" * 9 + b"\1"), "take", id="a packed string of 2^63 bytes"),
    ],
)
def test_what_is_no_tensor_is_said(made, says):
    if says is None:
        assert len(tensors.tensor(made).values) == 0
        return
    with pytest.raises(Undecodable, match=says):
        tensors.tensor(made)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tensor_or_a_reason(content):
    with contextlib.suppress(DecodeError, Undecodable):
        tensors.tensor(pb.TensorProto.FromString(content))


def test_content_is_little_endian():
    assert list(tensors.tensor(proto(1, [1], tensor_content=struct.pack("<f", 1.5))).values) == [1.5]
