"""Processes that outlive the Python process that started them.

A process is remembered by its id *and* its start time, so that a number that was given to another process in the
meantime is never signalled. Nothing here looks for processes by name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import PATH
from tests.cluster.errors import ClusterError


@dataclass(frozen=True)
class Process:
    """One process of this machine."""

    pid: int
    started: int  # clock ticks since the machine's boot: field 22 of /proc/<pid>/stat

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has this id now; None when there is none, or only a zombie."""
        try:
            # The second field is the command in parentheses and may hold anything, also blanks and parentheses.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Say whether this very process still runs."""
        return Process.of(self.pid) == self

    def children(self) -> list[Process]:
        """Return the processes it started itself that still run."""
        with contextlib.suppress(OSError):
            numbers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [child for number in numbers if (child := Process.of(int(number)))]
        return []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def gone_within(self, seconds: float) -> bool:
        """Wait for its end; say whether it came in time."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        reap()
        return True


_started: list[subprocess.Popen[bytes]] = []


def spawn(argv: Sequence[str], log: Path, *, stdin: int = subprocess.DEVNULL, pass_fds: Sequence[int] = ()) -> Process:
    """Start a process in a session of its own (so that Ctrl-C doesn't reach it) with its output appended to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "HELM_"))}
    with log.open("ab") as output:
        child = subprocess.Popen(argv, stdin=stdin, stdout=output, stderr=output, start_new_session=True,
                                 env={**environment, "PATH": PATH}, pass_fds=pass_fds, cwd="/")
    _started.append(child)
    # It can't be gone: nobody has waited for it. It can be a zombie already, which then is its own answer.
    return Process.of(child.pid) or Process(child.pid, 0)


def reap() -> None:
    """Collect the ended children of this process, which stay zombies until somebody does."""
    _started[:] = [child for child in _started if child.poll() is None]


def end(processes: Sequence[Process], grace: float) -> None:
    """End processes: SIGTERM, and SIGKILL for those that still run after ``grace`` seconds (0: at once).

    Raises:
        ClusterError: One still runs 10 seconds after its SIGKILL.
    """
    if grace:
        for process in processes:
            process.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        if not process.gone_within(max(0.0, deadline - time.monotonic())):
            process.signal(signal.SIGKILL)
    for process in processes:
        if not process.gone_within(10):
            raise ClusterError(f"process {process.pid} does not end, not even by SIGKILL")
    reap()
