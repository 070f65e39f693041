"""The batching parameters of a model server, as values and as the text its `--batching_parameters_file` holds.

Source: tensorflow/serving, servables/tensorflow/session_bundle_config.proto and batching/README.md.
"""

from __future__ import annotations

import dataclasses

from google.protobuf import text_format

from tfmodel_serving.protos import batching_pb2 as pb


@dataclasses.dataclass(frozen=True, slots=True)
class Batching:
    """Server-side batching, for all versions and signatures of a server.

    Args:
        max_batch_size: In examples; a larger request is refused.
        allowed_batch_sizes: What batches are padded up to, rising, the last being ``max_batch_size``; none: no padding. Anything
            else makes every load fail.
        num_batch_threads: 0 leaves it to the server, which takes the CPUs it can be scheduled on.
        max_enqueued_batches: Beyond, requests are answered UNAVAILABLE.
    """

    max_batch_size: int
    batch_timeout_micros: int
    max_enqueued_batches: int
    num_batch_threads: int = 0
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False


def to_text(batching: Batching) -> str:
    """Return ``batching`` in protobuf text format; equal inputs give equal text."""
    message = pb.BatchingParameters()
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches"):
        getattr(message, name).value = getattr(batching, name)
        getattr(message, name).SetInParent()  # 0 is a value, and another one than none
    if batching.num_batch_threads:
        message.num_batch_threads.value = batching.num_batch_threads
    message.allowed_batch_sizes.extend(batching.allowed_batch_sizes)
    message.pad_variable_length_inputs = batching.pad_variable_length_inputs
    return text_format.MessageToString(message)
