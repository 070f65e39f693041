"""Log lines in the shape of TensorFlow's: time, severity letter, place, message; on stderr.

The original logs through TensorFlow, which honours ``TF_CPP_MIN_LOG_LEVEL`` (0 info … 2 error); so does this.
"""

from __future__ import annotations

import datetime
import os
import sys

_SEVERITIES = "IWEF"
_MIN_LEVEL = int(os.environ.get("TF_CPP_MIN_LOG_LEVEL") or 0)


def _write(severity: str, place: str, message: str) -> None:
    if _SEVERITIES.index(severity) < _MIN_LEVEL:
        return
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")
    line = f"{now}: {severity} tests/modelserver/{place}.py] {message}\n"
    sys.stderr.buffer.write(line.encode("utf-8", "surrogateescape"))
    sys.stderr.buffer.flush()


def info(place: str, message: str) -> None:
    """Log at INFO; ``place`` is the module's short name."""
    _write("I", place, message)


def warning(place: str, message: str) -> None:
    """Log at WARNING."""
    _write("W", place, message)


def error(place: str, message: str) -> None:
    """Log at ERROR."""
    _write("E", place, message)


def fatal(place: str, message: str) -> None:
    """Log and abort the process, as LOG(FATAL) does: SIGABRT, no clean-up."""
    _write("F", place, message)
    os.abort()
