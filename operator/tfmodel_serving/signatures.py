"""Signatures of a SavedModel as values: what a request must look like.

Source: tensorflow/tensorflow, core/protobuf/meta_graph.proto (SignatureDef, TensorInfo), core/framework/types.proto.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from tfmodel_serving.protos import saved_model_pb2 as pb

DEFAULT = "serving_default"
"""The signature a request means that names none."""
_INTERNAL = "__saved_model_"
_DTYPES: dict[int, str] = {int(number): name for name, number in pb.DataType.items()}


MAX_NAMES, NAME_CHARACTERS = 1000, 200


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a signature.

    Args:
        dtype: As TensorFlow names it, ``DT_FLOAT``.
        shape: -1 where any size will do; None for any rank.
        name: In the graph, ``serving_default_x:0``; ``""`` for sparse and composite tensors.
    """

    dtype: str
    shape: tuple[int, ...] | None
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One signature.

    Args:
        method: ``tensorflow/serving/predict``, ``…/classify`` or ``…/regress``, or what the exporter wrote.
        defaults: Inputs that may be left out.
    """

    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    defaults: frozenset[str] = frozenset()


_EMPTY = Signature("", {}, {})


def signature(message: pb.SignatureDef) -> Signature:
    """Return the values of a SignatureDef."""
    return Signature(
        message.method_name,
        {name: _tensor(info) for name, info in sorted(message.inputs.items())},
        {name: _tensor(info) for name, info in sorted(message.outputs.items())},
        frozenset(message.defaults),
    )


def _tensor(info: pb.TensorInfo) -> Tensor:
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return Tensor(dtype_name(info.dtype), shape, info.name)


def dtype_name(number: int) -> str:
    """Return TensorFlow's name of a data type, without the distinction of references, or its number."""
    return _DTYPES.get(number - 100 if number > 100 else number, str(number))


def public(signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """Return the signatures a client may name, without those TensorFlow makes for itself (``__saved_model_init_op``)."""
    return {name: one for name, one in sorted(signatures.items()) if not name.startswith(_INTERNAL)}


def names_only(signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """Return the first :data:`MAX_NAMES` names, each cut to :data:`NAME_CHARACTERS`, with nothing in the signatures."""
    return dict.fromkeys((name[:NAME_CHARACTERS] for name in itertools.islice(signatures, MAX_NAMES)), _EMPTY)


def to_dict(signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Return ``signatures`` as JSON-ready values."""
    return {name: _to_dict(one) for name, one in signatures.items()}


def _to_dict(one: Signature) -> dict[str, Any]:
    return {
        "method": one.method,
        "inputs": {name: _tensor_to_dict(tensor) for name, tensor in one.inputs.items()},
        "outputs": {name: _tensor_to_dict(tensor) for name, tensor in one.outputs.items()},
        **({"defaults": sorted(one.defaults)} if one.defaults else {}),
    }


def _tensor_to_dict(tensor: Tensor) -> dict[str, Any]:
    return {"dtype": tensor.dtype, "shape": None if tensor.shape is None else list(tensor.shape), "name": tensor.name}
