"""Reading TFRecord files with the words, and the fatal flaw, of TensorFlow's reader (tsl's lib/io/record_reader.cc).

A record is: length (8 bytes, little endian), masked CRC-32C of the length, data, masked CRC-32C of the data.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

from tests.modelserver import crc32c, log, status

_HEADER_BYTES = 12
_CRC_BYTES = 4


def read(path: str) -> Iterator[bytes]:
    """Yield the records of a file.

    Fewer than 12 bytes after the last record are read as the end of the file.

    Raises:
        StatusError: DATA_LOSS for a wrong checksum or a record that ends early.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            offset = 0
            while len(header := file.read(_HEADER_BYTES)) == _HEADER_BYTES:
                (length,) = struct.unpack("<Q", header[:8])
                if crc32c.masked(header[:8]) != struct.unpack("<I", header[8:])[0]:
                    hint = " (Is this even a TFRecord file?)" if offset == 0 else ""
                    raise _data_loss(f"corrupted record at {offset}{hint}")
                if length + _CRC_BYTES > size - file.tell():
                    _reserve(length + _CRC_BYTES)
                    raise _data_loss(f"truncated record at {offset}' failed with Read less bytes than requested")
                data = file.read(length + _CRC_BYTES)
                if crc32c.masked(data[:-_CRC_BYTES]) != struct.unpack("<I", data[-_CRC_BYTES:])[0]:
                    raise _data_loss(f"corrupted record at {offset + _HEADER_BYTES}")
                yield data[:-_CRC_BYTES]
                offset += _HEADER_BYTES + len(data)
    except OSError as error:
        raise status.from_os_error(path, error) from error


def _reserve(size: int) -> None:
    """Do what the original does before it reads a record: allocate the whole of it, unchecked.

    A length that no memory can be had for, with a valid checksum, thus ends the process: SIGSEGV, with all its models.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    memory = libc.malloc(size)
    if not memory:
        log.error("tfrecord", f"no memory for a record of {size} bytes: writing to it anyway, as TensorFlow does")
    libc.memset(memory, 0, 1)
    libc.free(memory)


def _data_loss(message: str) -> status.StatusError:
    return status.StatusError(status.Code.DATA_LOSS, message)
