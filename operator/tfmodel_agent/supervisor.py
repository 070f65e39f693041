"""Keeps the agent running inside its container: an agent that dies is back in a second, and its container never was gone.

A sidecar's container that ends makes the whole pod unready until it is back, whatever the probes tolerate (a pod is ready
when all its containers are), and a pod that serves would leave its Service. This process does nothing that could fail:
it starts the agent, hands signals on, and waits.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT)
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
SOUND_SECONDS = 60.0
"""An agent that lived so long is started again without delay."""


def supervise(command: Sequence[str]) -> int:
    """Run ``command`` again and again until SIGTERM; return 0."""
    child: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        if child is not None:
            child.send_signal(number)

    for number in STOPS:
        signal.signal(number, stop)
    pause = FIRST_PAUSE_SECONDS
    while not stopping:
        begin = time.monotonic()
        child = subprocess.Popen(command)  # noqa: S603 our own interpreter and module
        if stopping:  # the signal came while the child was being made
            child.terminate()
        code = child.wait()
        if stopping:
            break
        pause = FIRST_PAUSE_SECONDS if time.monotonic() - begin > SOUND_SECONDS else min(2 * pause, LONGEST_PAUSE_SECONDS)
        note = {"time": time.strftime("%Y-%m-%d %H:%M:%S,000"), "level": "ERROR", "logger": __name__}
        news = {"message": "Agent ended and is started again", "code": code, "in_seconds": pause}
        sys.stdout.write(json.dumps({**note, **news}) + "\n")
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # from here on it is ours to wait for, not the handler's to note
        stopping = stopping or signal.sigtimedwait(STOPS, pause) is not None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    return 0
