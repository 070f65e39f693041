"""Errors as TensorFlow Serving reports them: a canonical code and a message, over gRPC, REST and in model status.

A message is text as far as the server can tell, but it may quote raw bytes (an unparsable warmup record does). Such bytes
travel as surrogate escapes in ``str``, and :func:`to_bytes` turns them back into what a C++ ``string`` would hold.
"""

from __future__ import annotations

import enum
import errno
import os

_MESSAGE_LIMIT = 1024  # model_servers/grpc_status_util.cc


class Code(enum.IntEnum):
    """Canonical codes; numbers are those of gRPC and of ``error_code`` in model status."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class StatusError(Exception):
    """A failure with a canonical code; what C++ returns as a non-OK ``absl::Status``."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid_argument(message: str) -> StatusError:
    """Return the most frequent one."""
    return StatusError(Code.INVALID_ARGUMENT, message)


# TensorFlow's mapping of errno (tsl/platform/errors.cc), as far as reading a model directory can meet it.
_CODE_OF_ERRNO = {
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.ENOENT: Code.NOT_FOUND,
    errno.EEXIST: Code.ALREADY_EXISTS,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EROFS: Code.PERMISSION_DENIED,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EISDIR: Code.FAILED_PRECONDITION,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENOTCONN: Code.UNAVAILABLE,
    errno.EBUSY: Code.UNAVAILABLE,
}


def from_os_error(path: str, error: OSError) -> StatusError:
    """Return the status TensorFlow's file system gives for ``error`` on ``path``: ``<path>; <strerror>``."""
    number = error.errno or 0
    return StatusError(_CODE_OF_ERRNO.get(number, Code.UNKNOWN), f"{path}; {os.strerror(number)}")


def to_bytes(message: str) -> bytes:
    """Return the message as the bytes a C++ server would send, UTF-8 or not."""
    return message.encode("utf-8", "surrogateescape")


def to_text(message: bytes) -> str:
    """Return raw bytes as text that :func:`to_bytes` restores exactly."""
    return message.decode("utf-8", "surrogateescape")


def grpc_details(message: str) -> bytes:
    """Return the message of a gRPC status, cut as the server cuts it (model_servers/grpc_status_util.cc)."""
    raw = to_bytes(message)
    return raw if len(raw) <= _MESSAGE_LIMIT else raw[:_MESSAGE_LIMIT] + b"...TRUNCATED"


_HTTP_CODES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


def http_code(code: Code) -> int:
    """Return the HTTP status of a canonical code (model_servers/http_server.cc); the rest are 500."""
    return _HTTP_CODES.get(code, 500)
