"""Entry point: ``tensorflow_model_server --flag=value …`` (model_servers/main.cc).

No signal handler is installed, on purpose. As an ordinary process the server dies at SIGTERM at once; as PID 1 the kernel drops
a signal that has no handler, and it serves on.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from tests.modelserver import flags, log, status

_VERSION = "2.20.0-standin"
_FAILED = 255


def main() -> NoReturn:
    """Run the server; leave the process without waiting for threads, of which some may hang for ever."""
    code = _run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would make it an exception in one thread
    parsed = flags.parse(arguments)
    usage = flags.usage("tensorflow_model_server")
    if parsed.bad_value:
        log.error("main", parsed.bad_value)
        _say(usage)
        return _FAILED
    if parsed.flags.version:
        from tests.modelserver import tensorflow_c

        _say(f"TensorFlow ModelServer: {_VERSION}\nTensorFlow Library: {tensorflow_c.version()}\n")
        return 0
    log.info(
        "main",
        "This is a stand-in for tensorflow_model_server, for tests only (tests/modelserver): "
        "TensorFlow Serving's behaviour, but none of its code",
    )
    if parsed.unknown:
        _say(f"unknown argument: {parsed.unknown}\n{usage}")
    from tests.modelserver import server  # after the flags: its imports are most of the start-up time

    instance = server.Server(parsed.flags)
    try:
        instance.build_and_start()
    except status.StatusError as failure:
        _say(f"Failed to start server. Error: {failure}\n")
        instance.wait()  # if gRPC is up already, the process goes on serving it
        return _FAILED
    instance.wait()
    return 0


def _say(text: str) -> None:
    sys.stdout.buffer.write(status.to_bytes(text))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
