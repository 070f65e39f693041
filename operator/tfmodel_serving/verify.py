"""What is in the files of one version: all checks, put together.

Source: tensorflow/tensorflow, cc/saved_model/{constants.h,reader.cc,loader.cc} (which files make a SavedModel, and which of
them the model server fails without); measured on tensorflow_model_server r2.20.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from tfmodel_serving import files, meta_graph, signatures, variables, warmup, wire
from tfmodel_serving.problems import Broken, Missing, Reason, Unfinished

MAX_WARNINGS = 20
WARNING_CHARACTERS = 500

_DEBUG_INFO = "debug/saved_model_debug_info.pb"


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """What the files of a good version say.

    Args:
        warnings: What is odd about it, and harmless.
    """

    signatures: Mapping[str, signatures.Signature]
    warmup_records: int
    warnings: tuple[str, ...]


def verify(listing: files.Listing, rules: warmup.Rules) -> Contents:
    """Look into the files of one version.

    Raises:
        Problem: The first thing that is wrong, in the order of importance to a person.
    """
    warnings: list[str] = []
    graph = _read_graph(listing, warnings)
    _check_variables(listing, graph, warnings)
    needed = _check_assets(listing, graph)
    _check_debug_info(listing)
    _check_readable(listing, needed, warnings)
    found = _check_warmup(listing, graph, rules)
    warnings += found.warnings
    if len(warnings) > MAX_WARNINGS:
        warnings[MAX_WARNINGS:] = [f"and {len(warnings) - MAX_WARNINGS} more"]
    cut = tuple(warning[:WARNING_CHARACTERS] for warning in warnings)
    return Contents(signatures.public(graph.signatures) if graph else {}, found.records, cut)


def model_file(listing: files.Listing) -> str:
    """Return the name of the file the model server reads the model from.

    Raises:
        Missing: There is none.
    """
    for name in ("saved_model.pb", "saved_model.cpb", "saved_model.pbtxt"):
        if name in listing.files:
            return name
    raise Missing("saved_model.pb is missing")


def _read_graph(listing: files.Listing, warnings: list[str]) -> meta_graph.MetaGraph | None:
    """Return what the model file says, or None if it is of a kind or size that isn't looked into."""
    name = model_file(listing)
    if name == "saved_model.cpb":
        warnings.append(f"{name} is not looked into; the model server takes it since TensorFlow 2.15")
        return None
    _check_size(listing, name)
    with files.opened(listing, name) as window:
        graph = meta_graph.read(window, name) if name == "saved_model.pb" else meta_graph.read_text(window, name)
    if graph is None:
        warnings.append(f"{name} has {window.size} bytes and is not looked into; as saved_model.pb it would be")
    elif not signatures.public(graph.signatures):
        warnings.append("it has no signatures: every request will fail")
    return graph


def _check_size(listing: files.Listing, name: str) -> None:
    size = listing.files[name].size
    if size > wire.MAX_MESSAGE_BYTES:
        raise Broken(f"{name} has {size} bytes, and a protobuf message may have {wire.MAX_MESSAGE_BYTES}")


def _check_variables(listing: files.Listing, graph: meta_graph.MetaGraph | None, warnings: list[str]) -> None:
    sizes = {name: file.size for name, file in listing.files.items() if name.startswith("variables/")}
    try:
        if variables.INDEX in sizes:
            warnings += _check_shards(listing, sizes)
        elif graph is None and sizes:
            raise Missing(f"{variables.INDEX} is missing")
        elif graph is not None and graph.has_variables:
            raise Missing(f"{variables.INDEX} is missing, and the model has variables")
        elif sizes:
            warnings.append(f"{variables.INDEX} is missing; the model has no variables")
    except (Missing, Unfinished, Broken) as problem:
        if graph is None or graph.has_saver:
            raise
        warnings.append(f"{problem}; the model restores nothing")


def _check_shards(listing: files.Listing, sizes: Mapping[str, int]) -> list[str]:
    with files.opened(listing, variables.INDEX) as window:
        try:
            return variables.check(variables.read(window), sizes)
        except variables.Compressed:
            variables.check_names(sizes)
            return [f"{variables.INDEX} is compressed: the sizes of its shards are not checked"]


def _check_assets(listing: files.Listing, graph: meta_graph.MetaGraph | None) -> set[str]:
    """Return the files that are needed and not read here."""
    needed = {name for name in listing.files if name.startswith("variables/variables.")}
    for asset in graph.assets if graph else ():
        name = os.path.normpath(f"assets/{asset}")
        if name.startswith("../"):
            raise Broken(f"the model names the asset {asset}, which is not below its assets directory")
        if name not in listing.files and not listing.has_directory(name):
            raise Missing(f"{name} is missing")
        needed.add(name)
    return needed


def _check_debug_info(listing: files.Listing) -> None:
    """The model server fails on this file if it is there and doesn't parse, though it needs it for nothing."""
    if _DEBUG_INFO not in listing.files:
        return
    _check_size(listing, _DEBUG_INFO)
    with files.opened(listing, _DEBUG_INFO) as window:
        try:
            for _ in wire.pieces(window, 0, window.size):
                pass
        except wire.Truncated as error:
            raise Unfinished(f"{_DEBUG_INFO} is cut short: {error}") from error
        except (wire.Malformed, wire.TooComplex) as error:
            raise Broken(f"{_DEBUG_INFO} can't be parsed: {error}") from error


def _check_readable(listing: files.Listing, needed: set[str], warnings: list[str]) -> None:
    for name, file in listing.files.items():
        if not file.readable:
            if name in needed:
                raise Unfinished(f"{name} can't be read by user {os.geteuid()}")
            warnings.append(f"{name} can't be read by user {os.geteuid()}; the model does not need it")


def _check_warmup(listing: files.Listing, graph: meta_graph.MetaGraph | None, rules: warmup.Rules) -> warmup.Warmup:
    if warmup.FILE not in listing.files:
        if listing.has_directory(warmup.FILE) and rules.policy is not warmup.Policy.IGNORE:
            raise Broken(f"{warmup.FILE} is a directory", Reason.WARMUP_INVALID)
        warmup.check_missing(rules)
        return warmup.Warmup()
    with files.opened(listing, warmup.FILE) as window:
        return warmup.check(window, graph.signatures if graph else None, rules)
