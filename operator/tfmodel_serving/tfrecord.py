"""TFRecord files, record by record: ``length u64, crc u32, data, crc u32``, little endian, CRC-32C masked.

Source: tensorflow/tensorflow, core/lib/io/record_reader.cc, and tsl's lib/hash/crc32c.h. Measured on tensorflow_model_server:
fewer than 12 bytes after the last record are read as the end of the file; a length of 2^60 kills the process.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import google_crc32c

from tfmodel_serving.wire import RUN_BYTES, Window

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8
_GZIP = b"\x1f\x8b"


class Corrupt(ValueError):
    """Not TFRecord framing, or a checksum that is wrong; no further bytes can make it good."""


class CutShort(ValueError):
    """A record goes on beyond the end of the file: a copy that hasn't ended, or a length that kills the model server."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record, its checksums verified.

    Args:
        start: Where its data begins in the file.
        data: The data, or None if it is longer than :data:`tfmodel_serving.wire.RUN_BYTES`.
    """

    start: int
    length: int
    data: bytes | None

    @property
    def end(self) -> int:
        """Where the next record begins in the file."""
        return self.start + self.length + FOOTER_BYTES


def masked(checksum: int) -> int:
    """Return a CRC-32C as TFRecord and SSTable files carry it."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def records(window: Window) -> Iterator[Record]:
    """Read all records; the iteration ends where the model server would see the end of the file.

    Raises:
        Corrupt, CutShort: The first bad record; the message says which one it is, and where.
        Truncated: The file has become shorter.
    """
    at, number = 0, 0
    while window.size - at >= HEADER_BYTES:
        number += 1
        where = f"record {number} (at byte {at})"
        header = window.read(at, HEADER_BYTES)
        length, checksum = struct.unpack("<QI", header)
        if masked(google_crc32c.value(header[:8])) != checksum:
            if number == 1 and header.startswith(_GZIP):
                raise Corrupt("it is compressed with gzip; the model server reads uncompressed TFRecord files only")
            raise Corrupt(f"{where}: the checksum of its length is wrong{'; is this a TFRecord file?' if number == 1 else ''}")
        start = at + HEADER_BYTES
        if length + FOOTER_BYTES > window.size - start:
            raise CutShort(f"{where} says it has {length} bytes, and {window.size - start} follow")
        data, found = _data(window, start, length)
        if not found:
            raise Corrupt(f"{where}: the checksum of its data is wrong")
        yield Record(start, length, data)
        at = start + length + FOOTER_BYTES


def _data(window: Window, start: int, length: int) -> tuple[bytes | None, bool]:
    """Return the data if it is small, and whether its checksum is right."""
    if length <= RUN_BYTES:
        framed = window.read(start, length + FOOTER_BYTES)
        data, footer = framed[:length], framed[length:]
        return data, masked(google_crc32c.value(data)) == int.from_bytes(footer, "little")
    checksum = 0
    for at in range(start, start + length, RUN_BYTES):
        checksum = google_crc32c.extend(checksum, window.read(at, min(RUN_BYTES, start + length - at)))
    return None, masked(checksum) == int.from_bytes(window.read(start + length, FOOTER_BYTES), "little")
