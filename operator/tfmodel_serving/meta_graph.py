"""What a ``saved_model.pb`` (or ``.pbtxt``) says: the meta graph that is served, its signatures, variables and assets.

The file is walked piece by piece (:mod:`tfmodel_serving.wire`). Of the graph itself only what tells whether it must be
restored from ``variables/`` is looked at: the model server takes a missing ``variables.index`` for a model without
variables, says AVAILABLE, and fails every request.

Source: tensorflow/tensorflow, cc/saved_model/{constants.h,reader.cc,loader.cc} (which meta graph, what is restored),
core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor

from tfmodel_serving import signatures, wire
from tfmodel_serving.problems import Broken, Unfinished
from tfmodel_serving.protos import saved_model_pb2 as pb

TAGS = frozenset({"serve"})
"""`--saved_model_tags`: the meta graph with exactly these tags is served."""
MAX_TEXT_BYTES = 4 << 20
"""Largest ``saved_model.pbtxt`` that is looked into: the text parser takes 45 times its size in memory, and 3 s for a MB."""
MAX_META_GRAPHS = 100
MAX_KEPT_BYTES = 4 << 20
"""Most bytes of tags, signatures and asset names kept of one file."""

_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable", "AutoReloadVariable"})
_RESTORED = re.compile(r"(^|/)RestoreV2[^/]*/tensor_names$")
"""The constant with the names that a saver reads (core/ops/io_ops.cc), as Python's saver names it in TF1 and TF2."""
_OBJECT_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
"""TF2 saves and restores it with every model, one without variables too; nothing depends on it when serving."""
_TF1_ASSETS = "saved_model_assets"
_TELLING = re.compile(
    rb"\x12(\x0bVarHandleOp|\x0aVariableV2|\x08Variable|\x12AutoReloadVariable)|RestoreV2[^/]{0,40}/tensor_names"
)
"""A run of nodes without this, a tag and a length included, holds neither variables nor what is restored."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetaGraph:
    """The meta graph that is served.

    Args:
        signatures: By name; the ones TensorFlow makes for itself (``__saved_model_init_op``) are included.
        has_saver: Whatever is in ``variables/`` is restored when the model is loaded.
        has_variables: It can't answer before something has been restored.
        assets: Files it needs, below ``assets/``.
    """

    signatures: Mapping[str, signatures.Signature]
    has_saver: bool
    has_variables: bool
    assets: tuple[str, ...] = ()


def read(window: wire.Window, name: str) -> MetaGraph:
    """Read a ``saved_model.pb``.

    Raises:
        Unfinished: It is empty, or ends in the middle.
        Broken: It doesn't parse, has no meta graph to serve, or more in it than anybody should look at.
    """
    if not window.size:
        raise Unfinished(f"{name} is empty")
    file = _File()
    try:
        _walk(window, 0, window.size, _SAVED_MODEL, file)
    except wire.Truncated as error:
        raise Unfinished(f"{name} is cut short: {error}") from error
    except (wire.Malformed, wire.TooComplex) as error:
        raise Broken(f"{name} can't be parsed: {error}") from error
    return _chosen(file, name)


def read_text(window: wire.Window, name: str) -> MetaGraph | None:
    """Read a ``saved_model.pbtxt``, or return None if it is too large to be looked into.

    Raises:
        Unfinished: It is empty or doesn't parse; where text ends too early can't be told from where it is wrong.
        Broken: As for :func:`read`.
    """
    if not window.size:
        raise Unfinished(f"{name} is empty")
    if window.size > MAX_TEXT_BYTES:
        return None
    file = _File()
    try:
        text = window.read(0, window.size).decode()
        message = text_format.Parse(text, pb.SavedModel(), allow_unknown_field=True)
        for graph in message.meta_graphs:
            file.begin_graph().take(graph)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise Unfinished(f"{name} can't be parsed: {error}") from error
    except (wire.Malformed, wire.TooComplex) as error:
        raise Broken(f"{name} can't be parsed: {error}") from error
    except RecursionError as error:  # the text parser descends as the text does
        raise Broken(f"{name} can't be parsed: it is nested too deeply") from error
    return _chosen(file, name)


class _File:
    """What has been read so far of one file."""

    def __init__(self) -> None:
        self.graphs: list[_Graph] = []
        self.kept = 0

    def begin_graph(self) -> _Graph:
        if len(self.graphs) == MAX_META_GRAPHS:
            raise wire.TooComplex(f"it has more than {MAX_META_GRAPHS} meta graphs")
        self.graphs.append(_Graph(self))
        return self.graphs[-1]

    def keep(self, size: int) -> None:
        self.kept += size
        if self.kept > MAX_KEPT_BYTES:
            raise wire.TooComplex(f"its tags, signatures and asset names take more than {MAX_KEPT_BYTES} bytes")


class _Graph:
    """What has been read so far of one meta graph; parts may come in any order and in pieces."""

    def __init__(self, file: _File) -> None:
        self.file = file
        self.tags: set[str] = set()
        self.signatures: dict[str, signatures.Signature] = {}
        self.assets: list[str] = []
        self.has_variables = self.has_saver = False

    def take(self, part: pb.MetaGraphDef) -> None:
        self.take_info(part.meta_info_def)
        self.take_graph(part.graph_def)
        self.has_saver |= bool(part.saver_def.restore_op_name)
        for name, signature in part.signature_def.items():
            self.file.keep(signature.ByteSize() + len(name))
            self.signatures[name] = signatures.signature(signature)
        assets = list(part.asset_file_def)
        if _TF1_ASSETS in part.collection_def:
            assets += [wire.parse(pb.AssetFileDef, one.value) for one in part.collection_def[_TF1_ASSETS].any_list.value]
        for asset in assets:
            self.file.keep(len(asset.filename))
            self.assets.append(asset.filename)

    def take_info(self, info: pb.MetaGraphDef.MetaInfoDef) -> None:
        self.file.keep(sum(map(len, info.tags)))
        self.tags.update(info.tags)

    def take_graph(self, graph: pb.GraphDef, run: bytes | None = None) -> None:
        self.take_nodes(graph.node, run, is_main=True)
        self.take_library(graph.library, run)

    def take_library(self, library: pb.FunctionDefLibrary, run: bytes | None = None) -> None:
        if self._may_tell(run):
            for function in library.function:
                self.take_nodes(function.node_def, is_main=False)

    def take_nodes(self, nodes: Iterable[pb.NodeDef], run: bytes | None = None, *, is_main: bool) -> None:
        """Look for variables and for what the saver restores, in ``nodes`` that came from the bytes ``run``."""
        if not self._may_tell(run):
            return
        for node in nodes:
            if node.op in _VARIABLE_OPS:
                self.has_variables |= is_main  # one inside a function is the function's own
            elif _RESTORED.search(node.name):
                names = node.attr["value"].tensor.string_val if "value" in node.attr else ()
                self.has_variables |= any(name != _OBJECT_GRAPH for name in names)

    def _may_tell(self, run: bytes | None) -> bool:
        return not self.has_variables and (run is None or bool(_TELLING.search(run)))

    def take_large_node(self, node: pb.NodeHead) -> None:
        self.has_variables |= bool(_RESTORED.search(node.name))


def _chosen(file: _File, name: str) -> MetaGraph:
    """Return the first meta graph with the right tags, as the model server does."""
    for graph in file.graphs:
        if graph.tags == TAGS:
            has_variables = graph.has_saver and graph.has_variables
            return MetaGraph(graph.signatures, graph.has_saver, has_variables, tuple(dict.fromkeys(graph.assets)))
    found = ", ".join("{" + ", ".join(sorted(graph.tags)) + "}" for graph in file.graphs[:5]) or "none"
    raise Broken(f"{name} has no meta graph with the tag serve (and no other); tags of its meta graphs: {found}")


# -- the walk: for each kind of message, how a run of its fields is taken, and which of its large fields are entered ---------


def _take_saved_model(file: _File, run: bytes) -> None:
    for part in wire.parse(pb.SavedModel, run).meta_graphs:
        file.begin_graph().take(part)


def _take_meta_graph(file: _File, run: bytes) -> None:
    file.graphs[-1].take(wire.parse(pb.MetaGraphDef, run))


def _take_info(file: _File, run: bytes) -> None:
    file.graphs[-1].take_info(wire.parse(pb.MetaGraphDef.MetaInfoDef, run))


def _take_graph(file: _File, run: bytes) -> None:
    file.graphs[-1].take_graph(wire.parse(pb.GraphDef, run), run)


def _take_library(file: _File, run: bytes) -> None:
    file.graphs[-1].take_library(wire.parse(pb.FunctionDefLibrary, run), run)


def _take_function(file: _File, run: bytes) -> None:
    file.graphs[-1].take_nodes(wire.parse(pb.FunctionDef, run).node_def, run, is_main=False)


def _take_node(file: _File, pruned: bytes) -> None:
    file.graphs[-1].take_large_node(wire.parse(pb.NodeHead, pruned))


def _take_signature(file: _File, pruned: bytes) -> None:
    _take_meta_graph(file, wire.encoded_field(_SIGNATURE_DEF.number, pruned))


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """How a message is read: what takes its runs, by field number the kinds of its large fields, or the type it is pruned to."""

    take: Callable[[_File, bytes], None]
    enter: Mapping[int, _Kind] = dataclasses.field(default_factory=dict)
    pruned_to: Descriptor | None = None


_NODE = _Kind(_take_node, pruned_to=pb.NodeHead.DESCRIPTOR)
_FUNCTION = _Kind(_take_function, {3: _NODE})
_LIBRARY = _Kind(_take_library, {1: _FUNCTION})
_GRAPH = _Kind(_take_graph, {1: _NODE, 2: _LIBRARY})
_META_INFO = _Kind(_take_info)
_SIGNATURE_DEF = pb.MetaGraphDef.DESCRIPTOR.fields_by_name["signature_def"]
_SIGNATURE = _Kind(_take_signature, pruned_to=_SIGNATURE_DEF.message_type)
_META_GRAPH = _Kind(_take_meta_graph, {1: _META_INFO, 2: _GRAPH, 5: _SIGNATURE})
_SAVED_MODEL = _Kind(_take_saved_model, {2: _META_GRAPH})


def _walk(window: wire.Window, start: int, end: int, kind: _Kind, file: _File) -> None:
    if kind.pruned_to is not None:
        kind.take(file, wire.pruned(window, start, end, kind.pruned_to))
        return
    if kind is _META_GRAPH:
        file.begin_graph()
    for piece in wire.pieces(window, start, end):
        if not isinstance(piece, wire.Large):
            kind.take(file, piece)
        elif piece.number in kind.enter:
            _walk(window, piece.start, piece.end, kind.enter[piece.number], file)
