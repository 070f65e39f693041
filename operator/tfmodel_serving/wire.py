"""Protobuf messages larger than one wants in memory, read from a file piece by piece.

A ``saved_model.pb`` may take 2 GB, nearly all of it constants nobody here needs to see, and a warmup record as much.
:func:`pieces` cuts a message into runs of whole fields, each small enough for the protobuf runtime, and names the fields
that are too large for it; :func:`pruned` returns a large message without what its type doesn't list. So memory is bounded by
:data:`RUN_BYTES` and :data:`PRUNED_BYTES`, whatever lengths a file claims, and time by :data:`MAX_FIELDS`.

Source: protobuf's encoding (https://protobuf.dev/programming-guides/encoding); groups are refused, as TensorFlow has none.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

RUN_BYTES = 1 << 20
"""Largest run of fields, in bytes: the runtime may need some 40 times as much for a run of empty messages."""
PRUNED_BYTES = 1 << 20
"""Largest message :func:`pruned` returns, in bytes."""
KEPT_BYTES = 4096
"""Longest string or bytes field that :func:`pruned` keeps."""
MAX_FIELDS = 10_000_000
"""Fields walked over in one file, some ten seconds: as many as the nodes of a graph of protobuf's 2 GB."""
MAX_MESSAGE_BYTES = 2**31 - 1
"""Of any message: the runtimes count in ints."""
MAX_FIELD_NUMBER = (1 << 29) - 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Parsed = TypeVar("_Parsed", bound=Message)


class Malformed(ValueError):
    """Not the encoding of a protobuf message; the message says where and why."""


class Truncated(Malformed):
    """The file ends in the middle of a field, or has become shorter while it was read."""


class TooComplex(ValueError):
    """More fields, or a larger rest, than anybody should look at."""


@dataclasses.dataclass(frozen=True, slots=True)
class Large:
    """A length-delimited field of more than :data:`RUN_BYTES`: its number, and where its content is in the file."""

    number: int
    start: int
    end: int


class Window:
    """A file of ``size`` bytes behind ``descriptor``, read at offsets; never mapped: a mapped file that is cut means SIGBUS."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._fields_left = MAX_FIELDS

    def read(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes.

        Raises:
            Truncated: The file has become shorter than :attr:`size`, or never was so long.
            OSError: The volume can't be read.
        """
        content = os.pread(self._descriptor, length, start)
        while len(content) < length:
            more = os.pread(self._descriptor, length - len(content), start + len(content))
            if not more:
                raise Truncated(f"it ends at byte {start + len(content)}")
            content += more
        return content

    def count(self, fields: int) -> None:
        """Take ``fields`` off what may be walked over.

        Raises:
            TooComplex: Nothing is left.
        """
        self._fields_left -= fields
        if self._fields_left < 0:
            raise TooComplex(f"it has more than {MAX_FIELDS} parts")


def parse(kind: type[_Parsed], content: bytes) -> _Parsed:
    """Parse ``content`` as the protobuf runtime does, C++ and Python alike: well-formed, strings in UTF-8, at most 100 deep.

    Raises:
        Malformed: It doesn't parse.
    """
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise Malformed(f"it does not parse as {kind.DESCRIPTOR.name}") from error


def pieces(window: Window, start: int, end: int) -> Iterator[bytes | Large]:
    """Cut the message at ``start``..``end`` into runs of whole fields, in order, with large fields named instead.

    A run is a message of the same type: protobuf merges fields in whatever pieces they come.

    Raises:
        Malformed: No message.
        TooComplex: See :meth:`Window.count`.
    """
    at = start
    while at < end:
        chunk = window.read(at, min(RUN_BYTES, end - at))
        try:
            cut, fields = _whole_fields(chunk, at, end)
        except Truncated as error:
            if end == window.size:
                raise
            raise Malformed(str(error)) from error  # more bytes at the end of the file would not help
        window.count(fields + 1)
        if cut:
            yield chunk[:cut]
            at += cut
        else:  # the first field is larger than a run
            tag, body = _varint(chunk, 0, at)
            length, body = _varint(chunk, body, at)
            yield Large(tag >> 3, at + body, at + body + length)
            at += body + length


def pruned(window: Window, start: int, end: int, descriptor: Descriptor) -> bytes:
    """Return the message at ``start``..``end`` without what ``descriptor`` doesn't list, and without long strings.

    Raises:
        Malformed: No message.
        TooComplex: What is left is larger than :data:`PRUNED_BYTES`, or see :meth:`Window.count`.
    """
    kept = bytearray()
    for piece in pieces(window, start, end):
        if isinstance(piece, Large):
            field = descriptor.fields_by_number.get(piece.number)
            if field is not None and field.message_type is not None:
                kept += encoded_field(piece.number, pruned(window, piece.start, piece.end, field.message_type))
        else:
            kept += _pruned_run(window, piece, descriptor)
        if len(kept) > PRUNED_BYTES:
            raise TooComplex(f"more than {PRUNED_BYTES} bytes of it would have to be looked at")
    return bytes(kept)


def _pruned_run(window: Window, run: bytes, descriptor: Descriptor) -> bytearray:
    kept, at, fields = bytearray(), 0, 0
    while at < len(run):
        tag, body = _varint(run, at, 0)
        after = _after(run, tag, body, 0, len(run))
        field = descriptor.fields_by_number.get(tag >> 3)
        if field is not None and tag & 7 == _BYTES:
            length, body = _varint(run, body, 0)
            if field.message_type is not None:
                kept += encoded_field(field.number, _pruned_run(window, run[body:after], field.message_type))
            elif length <= KEPT_BYTES:
                kept += run[at:after]
        elif field is not None:
            kept += run[at:after]
        at = after
        fields += 1
    window.count(fields)
    return kept


def encoded_field(number: int, content: bytes | bytearray) -> bytes:
    """Return the encoding of a length-delimited field."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def _whole_fields(chunk: bytes, offset: int, end: int) -> tuple[int, int]:
    """Return how many bytes of ``chunk``, at ``offset`` of a message that ends at ``end``, are whole fields; and how many fields.

    This is the loop that every node of a graph passes, so it is written out: one-byte tags and lengths take the short way.
    """
    at = fields = 0
    size, left = len(chunk), end - offset
    while at < size:
        tag, body = chunk[at], at + 1
        if tag & 0x80:
            if size - at < 10 and size < left:
                break  # the varint may go on beyond the chunk
            tag, body = _varint(chunk, at, offset)
        if tag & 7 == _BYTES and size - body >= 10:
            if not tag >= 8:
                raise Malformed(f"field number 0 at byte {offset + at}")
            length = chunk[body]
            body += 1
            if length & 0x80:
                length, body = _varint(chunk, body - 1, offset)
            after = body + length
        else:
            if size - body < 10 and size < left:
                break
            after = _after(chunk, tag, body, offset, left)
        if after > size:
            if after > left:
                raise Truncated(f"the field at byte {offset + at} ends {after - left} bytes beyond its message")
            break
        if tag >> 3 > MAX_FIELD_NUMBER:
            raise Malformed(f"field number {tag >> 3} at byte {offset + at}")
        at = after
        fields += 1
    return at, fields


def _after(content: bytes, tag: int, body: int, offset: int, left: int) -> int:
    """Return where the field with ``tag`` and a body at ``body`` ends."""
    if not 0 < tag >> 3 <= MAX_FIELD_NUMBER:
        raise Malformed(f"field number {tag >> 3} before byte {offset + body}")
    match tag & 7:
        case 0:
            after = _varint(content, body, offset)[1]
        case 1:
            after = body + 8
        case 2:
            length, body = _varint(content, body, offset)
            after = body + length
        case 5:
            after = body + 4
        case other:
            raise Malformed(f"wire type {other} before byte {offset + body}")
    if after > left:
        raise Truncated(f"a field ends {after - left} bytes beyond its message, at byte {offset + body}")
    return after


def _varint(content: bytes, at: int, offset: int) -> tuple[int, int]:
    """Return the varint at ``at`` and where it ends."""
    value = shift = 0
    for position in range(at, min(at + 10, len(content))):
        byte = content[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + 1
        shift += 7
    if len(content) - at < 10:
        raise Truncated(f"a number is cut short at byte {offset + len(content)}")
    raise Malformed(f"a number of more than 64 bits at byte {offset + at}")


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Return the varint of at most 64 bits at ``at`` of ``content``, and where it ends.

    Raises:
        Malformed: There is none.
    """
    return _varint(content, at, 0)


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
