"""What is fuzzed: each target takes any bytes, and must end in a result or in the reasons its reader is declared to give."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from unittest import mock

import google_crc32c
from google.protobuf.message import DecodeError

from tests import savedmodels
from tfmodel_serving import comparison, meta_graph, replay, tensors, tfrecord, variables, warmup, wire
from tfmodel_serving.problems import Problem
from tfmodel_serving.protos import answers_pb2, saved_model_pb2

RULES = [warmup.Rules(policy, 1, size) for policy in warmup.Policy for size in (0, 4)]
_FRAMES = "<Q"


@contextlib.contextmanager
def opened(content: bytes) -> Iterator[wire.Window]:
    """A file with ``content``."""
    with tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:  # noqa: PTH112
        file.write(content)
        file.flush()
        yield wire.Window(file.fileno(), len(content))


def told(problem: Exception) -> None:
    """A reason is something a person can read."""
    assert str(problem).strip(), f"{type(problem).__name__} says nothing"


def saved_model(content: bytes) -> None:
    """A ``saved_model.pb``: as a small file, and as a large one, of which only pieces are in memory."""
    whole, in_pieces = (_read_model(content, run_bytes) for run_bytes in (wire.RUN_BYTES, 4096))
    if whole and in_pieces:
        assert (whole.signatures, whole.has_saver) == (in_pieces.signatures, in_pieces.has_saver)


def _read_model(content: bytes, run_bytes: int) -> meta_graph.MetaGraph | None:
    with opened(content) as window, mock.patch.object(wire, "RUN_BYTES", run_bytes):
        try:
            return meta_graph.read(window, "saved_model.pb")
        except Problem as problem:
            told(problem)
            return None


def saved_model_text(content: bytes) -> None:
    """A ``saved_model.pbtxt``."""
    with opened(content) as window:
        try:
            meta_graph.read_text(window, "saved_model.pbtxt")
        except Problem as problem:
            told(problem)


def index(content: bytes) -> None:
    """A ``variables.index``."""
    with opened(content) as window:
        try:
            variables.check(variables.read(window), {})
        except Problem as problem:
            told(problem)
        except variables.Compressed:
            pass


def index_block(content: bytes) -> None:
    """The data block of an index whose checksums are right, so that what is in it is read."""
    index(table(content))


def table(block: bytes) -> bytes:
    """Return an index with one data block."""

    def framed(content: bytes) -> bytes:
        return content + b"\0" + struct.pack("<I", tfrecord.masked(google_crc32c.value(content + b"\0")))

    def handle(offset: int, size: int) -> bytes:
        return wire._encoded(offset) + wire._encoded(size)

    value = handle(0, len(block))
    entries = framed(bytes([0, 1, len(value)]) + b"z" + value + struct.pack("<II", 0, 1))
    footer = handle(0, 0) + handle(len(block) + 5, len(entries) - 5)
    return framed(block) + entries + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def records(content: bytes) -> None:
    """A TFRecord file."""
    with opened(content) as window:
        try:
            end = 0
            for record in tfrecord.records(window):
                assert record.end > end
                end = record.end
                assert record.data is None or len(record.data) == record.length
            assert window.size - end < tfrecord.HEADER_BYTES
        except (tfrecord.Corrupt, tfrecord.CutShort) as problem:
            told(problem)


def warmup_file(content: bytes) -> None:
    """A warmup file, against the signatures of half_plus_two."""
    for rules in RULES:
        with opened(content) as window:
            try:
                found = warmup.check(window, signatures(), rules)
                assert found.records <= warmup.MAX_RECORDS
            except Problem as problem:
                told(problem)


def warmup_record(content: bytes) -> None:
    """One record with the right checksums, so that what is in it is read, whole and piece by piece."""
    warmup_file(savedmodels.framed(content) if len(content) < 64 else _framed(content))
    with opened(content) as window:
        try:
            wire.pruned(window, 0, window.size, warmup.pb.PredictionLog.DESCRIPTOR)
        except (wire.Malformed, wire.TooComplex) as problem:
            told(problem)


def _framed(content: bytes) -> bytes:
    header = struct.pack(_FRAMES, len(content))
    header += struct.pack("<I", tfrecord.masked(google_crc32c.value(header)))
    return header + content + struct.pack("<I", tfrecord.masked(google_crc32c.value(content)))


def tensor(content: bytes) -> None:
    """A TensorProto; what can be read of it is the same as itself."""
    with contextlib.suppress(DecodeError, tensors.Undecodable):
        read = {"y": tensors.tensor(answers_pb2.TensorProto.FromString(content))}
        assert comparison.differences(read, read)["y"].absolute == 0.0
        assert comparison.messages(comparison.differences(read, read)) == []


def answer(content: bytes) -> None:
    """An answer of a model server, to requests of each kind."""
    for request in _REQUESTS:
        try:
            replay.outputs(request, content)
        except tensors.Undecodable as problem:
            told(problem)


_REQUESTS = [
    replay.Request("Predict", saved_model_pb2.PredictRequest()),
    replay.Request("Classify", saved_model_pb2.ExamplesRequest()),
    replay.Request("Regress", saved_model_pb2.ExamplesRequest()),
    replay.Request("MultiInference", saved_model_pb2.MultiInferenceRequest()),
]

_signatures: dict = {}


def signatures() -> dict:
    """The signatures of half_plus_two."""
    if not _signatures:
        with opened((savedmodels.cache() / "half_plus_two" / "saved_model.pb").read_bytes()) as window:
            _signatures.update(meta_graph.read(window, "saved_model.pb").signatures)
    return _signatures


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (saved_model, saved_model_text, index, index_block, records, warmup_file, warmup_record, tensor, answer)
}
