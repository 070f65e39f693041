"""Protobuf read piece by piece is protobuf read whole."""

from __future__ import annotations

import contextlib
import os
import tempfile

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tests.modelserver.protos import saved_model_pb2
from tfmodel_serving import wire
from tfmodel_serving.protos import saved_model_pb2 as pb

RUN = 64
GraphDef = type(saved_model_pb2.SavedModel().meta_graphs.add().graph_def)
"""The original."""

names = st.text("abcd", max_size=2 * RUN)
nodes = st.builds(lambda name, op: pb.NodeDef(name=name, op=op), names, names)
graphs = st.builds(
    lambda main, functions: pb.GraphDef(
        node=main, library=pb.FunctionDefLibrary(function=[pb.FunctionDef(node_def=inner) for inner in functions])
    ),
    st.lists(nodes, max_size=8),
    st.lists(st.lists(nodes, max_size=4), max_size=3),
)


@pytest.fixture(autouse=True, scope="module")
def small_runs():
    """Runs so small that ordinary messages take all paths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "RUN_BYTES", RUN)
        yield


def window(content):
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return Opened(os.dup(file.fileno()), len(content))


class Opened(wire.Window):
    def __del__(self):
        os.close(self._descriptor)


def whole(opened, start, end):
    """The message, put together from its pieces."""
    message = b""
    for piece in wire.pieces(opened, start, end):
        if isinstance(piece, wire.Large):
            assert piece.end - piece.start > RUN - 10
            content = opened.read(piece.start, piece.end - piece.start)
            message += wire.encoded_field(piece.number, content)
        else:
            assert 0 < len(piece) <= RUN
            pb.GraphDef.FromString(piece)
            message += piece
    return message


@given(graphs)
def test_the_pieces_are_the_message(graph):
    content = graph.SerializeToString()
    assert whole(window(content), 0, len(content)) == content


@given(graphs)
def test_a_pruned_message_has_what_its_type_lists(graph):
    for node in graph.node:
        content = node.SerializeToString() + wire.encoded_field(9, b"x" * 200)
        pruned = wire.pruned(window(content), 0, len(content), pb.NodeHead.DESCRIPTOR)
        head = pb.NodeHead.FromString(pruned)
        short = [text if len(text) <= RUN - 10 else None for text in (node.name, node.op)]
        assert all(wanted is None or found == wanted for found, wanted in zip((head.name, head.op), short, strict=True))
        assert len(pruned) < len(content)


@given(st.binary(max_size=4 * RUN))
def test_any_bytes_are_pieces_or_malformed(content):
    with contextlib.suppress(wire.Malformed):
        list(wire.pieces(window(content), 0, len(content)))


@given(graphs, st.data())
def test_what_the_runtime_parses_is_walked(graph, data):
    """Nothing the server would take is refused by the walk."""
    content = bytearray(graph.SerializeToString() or b"\x08\x01")
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        GraphDef.FromString(bytes(content))
    except DecodeError:
        return
    if not any(byte & 7 in {3, 4} for byte in content):  # there may be a group, which TensorFlow has none of
        list(wire.pieces(window(content), 0, len(content)))


@given(graphs, st.data())
def test_a_message_that_is_cut_short_is_told_as_such_or_is_one(graph, data):
    content = graph.SerializeToString()
    cut = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(wire.Truncated):
        list(wire.pieces(window(cut), 0, len(cut)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"\x00\x00", "field number 0", id="zeros, as in a file with a hole"),
        pytest.param(b"\x02\x00" + b"\x0a\x00" * 9, "field number 0", id="field 0 with a length"),
        pytest.param(b"\x0b\x0c", "wire type 3", id="a group"),
        pytest.param(b"\x0f\x01", "wire type 7", id="no such type"),
        pytest.param(b"\x08" + b"\xff" * 10, "more than 64 bits", id="a number too long"),
        pytest.param(b"\x08" + b"\xff" * 9 + b"\x7f", "more than 64 bits", id="a number too large"),
        pytest.param(b"\xfa\xff\xff\xff\xff\x01\x00" + b"\x0a\x00" * 9, "field number", id="a field number too large"),
    ],
)
def test_what_is_malformed_says_what_and_where(content, says):
    with pytest.raises(wire.Malformed, match=rf"{says}.* byte \d+"):
        list(wire.pieces(window(content), 0, len(content)))


@pytest.mark.parametrize("content", [b"\x08", b"\x0a\x05abcd", b"\x0a\xff\xff\xff\xff\x0f", b"\x09\x00", b"\x0a", b"\x0d\x01"])
def test_the_end_of_the_file_in_a_field_is_truncation_and_the_end_of_a_message_is_not(content):
    with pytest.raises(wire.Truncated):
        list(wire.pieces(window(content), 0, len(content)))
    with pytest.raises(wire.Malformed) as error:
        list(wire.pieces(window(content + b"\0"), 0, len(content)))
    assert not isinstance(error.value, wire.Truncated)


def test_a_file_that_shrinks_while_it_is_read_is_truncated():
    opened = window(b"\x0a\x04abcd")
    opened.size = 100
    with pytest.raises(wire.Truncated, match="ends at byte 6"):
        opened.read(0, 100)


def test_there_is_an_end_to_what_is_walked(monkeypatch):
    monkeypatch.setattr(wire, "MAX_FIELDS", 100)
    with pytest.raises(wire.TooComplex, match="more than 100 parts"):
        list(wire.pieces(window(b"\x08\x01" * 1000), 0, 2000))


@pytest.mark.parametrize("content", [b"\x0a\x02\xff\xff", b"\x0a\x05abc", b"\x00"], ids=["not UTF-8", "cut short", "field 0"])
def test_what_the_runtime_refuses_is_malformed(content):
    with pytest.raises(wire.Malformed, match="does not parse as NodeHead"):
        wire.parse(pb.NodeHead, content)
