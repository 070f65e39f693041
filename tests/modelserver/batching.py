"""What --enable_batching refuses (servables/tensorflow/bundle_factory_util.cc, batching/batching_session.cc).

Requests are not merged into batches here: that changes latency, not answers. What is kept is every way in which batching makes
a load, a warm-up record or a request fail.
"""

# os.path answers as access(2) does, where pathlib raises for what may not be looked at:
# ruff: noqa: PTH110
from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from tests.modelserver import configs, status
from tests.modelserver.protos import BatchingParameters
from tests.modelserver.tensorflow_c import Array

_DEFAULT_MAX_BATCH_SIZE = 1000
_PER_MODEL_FILE = "batching_params.pbtxt"


@dataclasses.dataclass(frozen=True)
class BatchLimits:
    """The limits of one model's batching queue."""

    max_batch_size: int
    splitting: bool

    def check(self, inputs: Sequence[Array]) -> None:
        """Refuse inputs that cannot form, or do not fit, a batch."""
        sizes = set()
        for array in inputs:
            if array.ndim == 0:
                raise status.invalid_argument("Batching Run() input tensors must have at least one dimension.")
            sizes.add(array.shape[0])
        if len(sizes) > 1:
            raise status.invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
        size = next(iter(sizes), 0)
        if size > self.max_batch_size and not self.splitting:
            raise status.invalid_argument(f"Task size {size} is larger than maximum input batch size {self.max_batch_size}")


def limits_for(path: str, common: Any | None, per_model: bool) -> BatchLimits | None:
    """Return the limits for the version at ``path``, or None if its requests are not batched.

    Args:
        common: BatchingParameters of the server, None with batching off.
        per_model: --enable_per_model_batching_parameters: only models with a file of their own are batched.
    """
    if common is None:
        return None
    parameters = common
    if per_model:
        file = os.path.join(path, _PER_MODEL_FILE)
        if not os.path.exists(file):
            return None
        parameters = configs.parse_text_file(file, BatchingParameters())
    max_batch_size = _DEFAULT_MAX_BATCH_SIZE
    if parameters.HasField("max_batch_size"):
        max_batch_size = parameters.max_batch_size.value
    allowed = list(parameters.allowed_batch_sizes)
    if allowed and allowed[-1] != max_batch_size:  # found out only when a model is loaded
        raise status.invalid_argument(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{allowed[-1]}; expected {max_batch_size}"
        )
    return BatchLimits(max_batch_size, parameters.enable_large_batch_splitting.value)
