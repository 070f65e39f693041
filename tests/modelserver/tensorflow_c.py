"""TensorFlow through its C API (tensorflow/c/c_api.h), by ctypes.

``TF_LoadSessionFromSavedModel`` and ``TF_SessionRun`` are the C++ loader and session that TensorFlow Serving itself uses, so
what a broken model directory does, and with which words, is TensorFlow's own doing. They also release the interpreter lock,
and the library is loaded in 0.4 s where ``import tensorflow`` takes five.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tests.modelserver import status

_STRING = 7  # DataType.DT_STRING
_STRING_BYTES = 24  # sizeof(TF_TString)

# DataType (types.proto) to numpy, for types whose bytes in a tensor are numpy's.
DTYPES: dict[int, npt.DTypeLike] = {
    1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 8: np.complex64, 9: np.int64,
    10: np.bool_, 17: np.uint16, 18: np.complex128, 19: np.float16, 22: np.uint32, 23: np.uint64,
}  # fmt: skip

Array = npt.NDArray[np.generic]


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


_P = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "TF_Version": (ctypes.c_char_p, []),
    "TF_NewStatus": (_P, []),
    "TF_DeleteStatus": (None, [_P]),
    "TF_GetCode": (ctypes.c_int, [_P]),
    "TF_Message": (ctypes.c_char_p, [_P]),
    "TF_NewGraph": (_P, []),
    "TF_DeleteGraph": (None, [_P]),
    "TF_GraphOperationByName": (_P, [_P, ctypes.c_char_p]),
    "TF_NewSessionOptions": (_P, []),
    "TF_SetConfig": (None, [_P, ctypes.c_char_p, ctypes.c_size_t, _P]),
    "TF_DeleteSessionOptions": (None, [_P]),
    "TF_NewBuffer": (ctypes.POINTER(_Buffer), []),
    "TF_NewBufferFromString": (ctypes.POINTER(_Buffer), [ctypes.c_char_p, ctypes.c_size_t]),
    "TF_DeleteBuffer": (None, [ctypes.POINTER(_Buffer)]),
    "TF_LoadSessionFromSavedModel": (
        _P,
        [_P, _P, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, _P, ctypes.POINTER(_Buffer), _P],
    ),
    "TF_SessionRun": (
        None,
        [_P, ctypes.POINTER(_Buffer), ctypes.POINTER(_Output), ctypes.POINTER(_P), ctypes.c_int,
         ctypes.POINTER(_Output), ctypes.POINTER(_P), ctypes.c_int, _P, ctypes.c_int, _P, _P],
    ),
    "TF_CloseSession": (None, [_P, _P]),
    "TF_DeleteSession": (None, [_P, _P]),
    "TF_AllocateTensor": (_P, [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_size_t]),
    "TF_DeleteTensor": (None, [_P]),
    "TF_TensorType": (ctypes.c_int, [_P]),
    "TF_NumDims": (ctypes.c_int, [_P]),
    "TF_Dim": (ctypes.c_int64, [_P, ctypes.c_int]),
    "TF_TensorByteSize": (ctypes.c_size_t, [_P]),
    "TF_TensorData": (_P, [_P]),
    "TF_StringInit": (None, [_P]),
    "TF_StringCopy": (None, [_P, ctypes.c_char_p, ctypes.c_size_t]),
    "TF_StringDealloc": (None, [_P]),
    "TF_StringGetDataPointer": (_P, [_P]),
    "TF_StringGetSize": (ctypes.c_size_t, [_P]),
}  # fmt: skip

_load_lock = threading.Lock()


@functools.cache
def _load() -> ctypes.CDLL:
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("tensorflow is not installed (tests/modelserver/requirements.txt)")
    home = spec.submodule_search_locations[0]
    ctypes.CDLL(os.path.join(home, "libtensorflow_framework.so.2"))
    library = ctypes.CDLL(os.path.join(home, "libtensorflow_cc.so.2"))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def library() -> ctypes.CDLL:
    """Return TensorFlow's library, loading it the first time."""
    with _load_lock:
        return _load()


def version() -> str:
    """Return TensorFlow's version."""
    raw: bytes = library().TF_Version()
    return raw.decode()


class _Status:
    """A TF_Status that raises when it is left with an error."""

    def __enter__(self) -> ctypes.c_void_p:
        self._status = ctypes.c_void_p(library().TF_NewStatus())
        return self._status

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        tf = library()
        code = tf.TF_GetCode(self._status)
        message = status.to_text(tf.TF_Message(self._status))
        tf.TF_DeleteStatus(self._status)
        if kind is None and code:
            raise status.StatusError(status.Code(code), message)


class Session:
    """A SavedModel, loaded.

    Args:
        config: A serialised ConfigProto.
    """

    def __init__(self, export_dir: str, tags: Sequence[str], config: bytes) -> None:
        tf = library()
        self._outputs: dict[str, _Output] = {}
        self._graph = ctypes.c_void_p(tf.TF_NewGraph())
        options = ctypes.c_void_p(tf.TF_NewSessionOptions())
        raw_tags = (ctypes.c_char_p * len(tags))(*(tag.encode() for tag in tags))
        buffer = tf.TF_NewBuffer()
        try:
            with _Status() as result:
                tf.TF_SetConfig(options, config, len(config), result)
            with _Status() as result:
                self._session = ctypes.c_void_p(
                    tf.TF_LoadSessionFromSavedModel(
                        options, None, os.fsencode(export_dir), raw_tags, len(tags), self._graph, buffer, result
                    )
                )
            self.meta_graph_def: bytes = ctypes.string_at(buffer.contents.data, buffer.contents.length)
        except status.StatusError:
            tf.TF_DeleteGraph(self._graph)
            raise
        finally:
            tf.TF_DeleteBuffer(buffer)
            tf.TF_DeleteSessionOptions(options)

    def close(self) -> None:
        """Free the model; no run may be under way."""
        tf = library()
        with _Status() as result:
            tf.TF_CloseSession(self._session, result)
        with _Status() as result:
            tf.TF_DeleteSession(self._session, result)
        tf.TF_DeleteGraph(self._graph)

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], run_options: bytes) -> list[Array]:
        """Run the graph; names are tensor names (``serving_default_x:0``), strings are arrays of ``bytes`` objects."""
        tf = library()
        inputs = (_Output * len(feeds))(*(self._output(name) for name in feeds))
        outputs = (_Output * len(fetches))(*(self._output(name) for name in fetches))
        values = [_to_tensor(tf, array) for array in feeds.values()]
        results = (_P * len(fetches))()
        options = tf.TF_NewBufferFromString(run_options, len(run_options)) if run_options else None
        try:
            with _Status() as result:
                tf.TF_SessionRun(
                    self._session, options, inputs, (_P * len(values))(*values), len(values),
                    outputs, results, len(fetches), None, 0, None, result,
                )  # fmt: skip
            return [_from_tensor(tf, _P(tensor)) for tensor in results]
        finally:
            for tensor in results:
                if tensor:
                    tf.TF_DeleteTensor(tensor)
            for value in values:  # after the results: an output can be the input itself
                _delete_tensor(tf, value)
            if options:
                tf.TF_DeleteBuffer(options)

    def _output(self, name: str) -> _Output:
        if name in self._outputs:
            return self._outputs[name]
        operation, _, index = name.partition(":")
        found = library().TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise status.StatusError(
                status.Code.INVALID_ARGUMENT,
                f"Tensor {name}, specified in either feed_devices or fetch_devices was not found in the Graph",
            )
        self._outputs[name] = _Output(found, int(index or 0))
        return self._outputs[name]


def _to_tensor(tf: ctypes.CDLL, array: Array) -> ctypes.c_void_p:
    dims = (ctypes.c_int64 * array.ndim)(*array.shape)
    if array.dtype == object:
        tensor = ctypes.c_void_p(tf.TF_AllocateTensor(_STRING, dims, array.ndim, _STRING_BYTES * array.size))
        start = tf.TF_TensorData(tensor) or 0
        for position, text in enumerate(array.ravel().tolist()):
            slot = _P(start + position * _STRING_BYTES)
            tf.TF_StringInit(slot)
            tf.TF_StringCopy(slot, text, len(text))
        return tensor
    contiguous = np.ascontiguousarray(array)
    data_type = _DATA_TYPES[contiguous.dtype.type]
    tensor = ctypes.c_void_p(tf.TF_AllocateTensor(data_type, dims, array.ndim, contiguous.nbytes))
    if contiguous.nbytes:
        ctypes.memmove(tf.TF_TensorData(tensor), contiguous.ctypes.data, contiguous.nbytes)
    return tensor


_DATA_TYPES: dict[type, int] = {np.dtype(dtype).type: number for number, dtype in DTYPES.items()}


def _from_tensor(tf: ctypes.CDLL, tensor: ctypes.c_void_p) -> Array:
    shape = tuple(tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor)))
    data_type = tf.TF_TensorType(tensor)
    size = int(np.prod(shape, dtype=np.int64))
    start = tf.TF_TensorData(tensor) or 0
    if data_type == _STRING:
        slots = (_P(start + position * _STRING_BYTES) for position in range(size))
        texts = [ctypes.string_at(tf.TF_StringGetDataPointer(slot), tf.TF_StringGetSize(slot)) for slot in slots]
        array = np.empty(size, dtype=object)
        array[:] = texts
        return array.reshape(shape)
    if data_type not in DTYPES:
        raise status.StatusError(status.Code.UNIMPLEMENTED, f"the stand-in cannot return tensors of type {data_type}")
    raw = ctypes.string_at(start, tf.TF_TensorByteSize(tensor))
    return np.frombuffer(raw, dtype=DTYPES[data_type]).reshape(shape)


def _delete_tensor(tf: ctypes.CDLL, tensor: ctypes.c_void_p) -> None:
    if tf.TF_TensorType(tensor) == _STRING:  # the buffer is ours, and so are the strings in it
        start = tf.TF_TensorData(tensor) or 0
        for offset in range(0, tf.TF_TensorByteSize(tensor), _STRING_BYTES):
            tf.TF_StringDealloc(_P(start + offset))
    tf.TF_DeleteTensor(tensor)
