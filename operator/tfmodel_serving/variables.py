"""``variables/``: the index of a checkpoint, and the data shards it names.

The index is an SSTable (LevelDB's table format): blocks of key-value entries, an index block that points at them, a footer.
Its first entry, with an empty key, is the header; every other one says in which shard, where and how long a tensor is.
So a shard that is missing or cut short is found without reading it.

Source: tensorflow/tensorflow, core/util/tensor_bundle/{tensor_bundle.cc,naming.cc}, core/protobuf/tensor_bundle.proto,
core/lib/io/{table.cc,format.cc,block.cc}.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import google_crc32c

from tfmodel_serving import tfrecord, wire
from tfmodel_serving.problems import Broken, Missing, Unfinished
from tfmodel_serving.protos import saved_model_pb2 as pb

INDEX = "variables/variables.index"
MAX_BLOCK_BYTES = 16 << 20
"""TensorFlow begins a new block every 256 KB."""
MAX_SHARDS = 100_000

_FOOTER_BYTES = 48
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_TRAILER_BYTES = 5  # compression type, masked CRC-32C
_UNCOMPRESSED = 0


class Compressed(Exception):
    """The index is compressed with Snappy, as TensorFlow 1.0 and 1.1 wrote it; it can't be looked into here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """What an index says.

    Args:
        shards: Number of data shards.
        needed: Shard to the least size, in bytes, that holds all its tensors; shards without tensors aren't in it.
    """

    shards: int
    needed: Mapping[int, int]


def shard_name(number: int, shards: int) -> str:
    """Return the path of data shard ``number`` of ``shards``, below the version directory."""
    return f"variables/variables.data-{number:05}-of-{shards:05}"


def read(window: wire.Window) -> Index:
    """Read ``variables.index``.

    Raises:
        Unfinished: It is too short, or doesn't end with the footer.
        Broken: A block is damaged, or says what can't be.
        Compressed: See there.
    """
    try:
        return _read(window)
    except (wire.Malformed, wire.TooComplex) as error:
        raise Broken(f"{INDEX} is damaged: {error}") from error


def check(index: Index, sizes: Mapping[str, int]) -> list[str]:
    """Check the data shards against the index; return warnings.

    Args:
        sizes: Size of every file, by path.

    Raises:
        Missing: A shard that holds tensors isn't there.
        Unfinished: One is shorter than its tensors.
    """
    warnings = []
    for number in range(index.shards):
        name, needed = shard_name(number, index.shards), index.needed.get(number)
        if needed is None and name not in sizes:
            warnings.append(f"{name} is missing, but no variable is in it")
        elif name not in sizes:
            raise Missing(f"{name} is missing")
        elif needed is not None and sizes[name] < needed:
            raise Unfinished(f"{name} has {sizes[name]} bytes of at least {needed}")
    return warnings


def check_names(sizes: Mapping[str, int]) -> None:
    """Check by their names alone that all data shards are there: each says how many there are.

    Raises:
        Missing: One isn't there.
    """
    shards = sorted(name for name in sizes if name.startswith("variables/variables.data-"))
    if not shards:
        raise Missing("variables/variables.data-* is missing")
    total = shards[-1].rpartition("-of-")[2]
    for number in range(min(int(total), MAX_SHARDS) if total.isascii() and total.isdigit() and len(total) < 9 else 0):
        if shard_name(number, int(total)) not in sizes:
            raise Missing(f"{shard_name(number, int(total))} is missing")


def _read(window: wire.Window) -> Index:
    if window.size < _FOOTER_BYTES:
        raise Unfinished(f"{INDEX} has {window.size} bytes, less than its footer takes")
    footer = window.read(window.size - _FOOTER_BYTES, _FOOTER_BYTES)
    if not footer.endswith(_MAGIC):
        raise Unfinished(f"{INDEX} does not end as an index does: it is cut short, or no index")
    _, at = _handle(footer, 0)  # of the meta index, which TensorFlow doesn't use
    (start, size), _ = _handle(footer, at)
    shards: int | None = None
    needed: dict[int, int] = {}
    free = 0  # blocks follow each other; one that is named twice would be read for ever
    for _, value in _entries(window, start, size):
        (start, size), _ = _handle(value, 0)
        if start < free:
            raise wire.Malformed(f"the block at byte {start} is out of order")
        free = start + size
        for key_length, content in _entries(window, start, size):
            if shards is None:
                shards = _header(key_length, content)
            else:
                _take(content, shards, needed)
    if shards is None:
        raise wire.Malformed("it has no header")
    return Index(shards, needed)


def _header(key_length: int, content: bytes) -> int:
    if key_length:
        raise wire.Malformed("its first entry is not the header")
    shards = wire.parse(pb.BundleHeaderProto, content).num_shards
    if not 1 <= shards <= MAX_SHARDS:
        raise wire.Malformed(f"it says there are {shards} data shards")
    return shards


def _take(content: bytes, shards: int, needed: dict[int, int]) -> None:
    entry = wire.parse(pb.BundleEntryProto, content)
    end = entry.offset + entry.size
    if not 0 <= entry.shard_id < shards or entry.offset < 0 or entry.size < 0 or end > 1 << 62:
        raise wire.Malformed(f"a tensor is at {entry.offset}+{entry.size} of shard {entry.shard_id} of {shards}")
    needed[entry.shard_id] = max(needed.get(entry.shard_id, 0), end)


def _handle(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Return offset and size of the block that a handle at ``at`` points at, and where the handle ends."""
    offset, at = wire.varint(content, at)
    size, at = wire.varint(content, at)
    return (offset, size), at


def _entries(window: wire.Window, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Read the block of ``size`` bytes at ``start``: for each entry the length of its key, and its value."""
    block = _block(window, start, size)
    restarts = int.from_bytes(block[-4:], "little")
    limit = size - 4 - 4 * restarts
    if limit < 0:
        raise wire.Malformed(f"the block at byte {start} says it has {restarts} restarts")
    window.count(limit // 3 + 1)
    at = key_length = 0
    while at < limit:
        shared, at = wire.varint(block, at)  # how much of the key is that of the entry before
        unshared, at = wire.varint(block, at)
        length, at = wire.varint(block, at)
        if shared > key_length or at + unshared + length > limit:
            raise wire.Malformed(f"an entry of the block at byte {start} goes beyond its end")
        key_length = shared + unshared
        yield key_length, block[at + unshared : at + unshared + length]
        at += unshared + length


def _block(window: wire.Window, start: int, size: int) -> bytes:
    if not 4 <= size <= MAX_BLOCK_BYTES or start + size + _TRAILER_BYTES > window.size - _FOOTER_BYTES:
        raise wire.Malformed(f"it points at a block of {size} bytes at byte {start}")
    framed = window.read(start, size + _TRAILER_BYTES)
    if tfrecord.masked(google_crc32c.value(framed[:-4])) != int.from_bytes(framed[-4:], "little"):
        raise wire.Malformed(f"the checksum of the block at byte {start} is wrong")
    if framed[size] != _UNCOMPRESSED:
        raise Compressed
    return framed[:size]
