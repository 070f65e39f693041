"""The operator as the process it is, and what processes cost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.cache import PATH
from tests.cluster.errors import ClusterError, tail

ROOT = Path(__file__).resolve().parents[3]
TICKS = os.sysconf("SC_CLK_TCK")
SYSTEM = "tfmodel-system"
"""The namespace the operator runs in."""
PROBES = "http://127.0.0.1:8080"


class OperatorProcess:
    """``python -m tfmodel_operator``, as its image runs it: one container of one pod, however often it starts.

    Args:
        arguments: Its flags.
        kubeconfig: Of the user whose rights the chart gives it.
        profile: Where to write where its CPU went; it then runs under the profiler.
    """

    def __init__(self, kubeconfig: Path, arguments: Sequence[str], log: Path, *, profile: Path | None = None) -> None:
        self._kubeconfig, self._arguments, self._log, self._profile = kubeconfig, arguments, log, profile
        self._pod_uid = str(uuid.uuid4())
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it; ``started`` is the time, of time.monotonic()."""
        profiler = ["tests.bench.operator.profiler", str(self._profile)] if self._profile else []
        command = [sys.executable, "-m", *profiler, "tfmodel_operator", *self._arguments, "--host", "127.0.0.1"]
        self.started = time.monotonic()
        self.process = child(command, self._log, KUBECONFIG=str(self._kubeconfig), POD_NAMESPACE=SYSTEM, POD_UID=self._pod_uid)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send it a signal; return the seconds until it ended. Safe to repeat."""
        begin = time.monotonic()
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        return time.monotonic() - begin

    def check(self) -> None:
        """Raise ClusterError when it has ended by itself."""
        if self.process is None or self.process.poll() is not None:
            raise ClusterError(f"the operator ended by itself; its log {self._log} ends with:\n{tail(self._log)}")

    def ready(self) -> bool:
        """Say whether its readiness probe does: all that exists is known to it."""
        self.check()
        try:
            fetch(f"{PROBES}/readyz")
        except OSError:  # urllib's own errors are some, HTTP 503 among them
            return False
        return True


def child(command: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a process of this checkout's code, whose end is the end of this one at the latest, even when that is killed."""
    bound = ["setpriv", "--pdeathsig", "KILL", "--", *command]
    variables = os.environ | {"PATH": PATH, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"} | environment
    with log.open("ab") as output:
        return subprocess.Popen(bound, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=variables, cwd=ROOT)


def fetch(url: str) -> bytes:
    """Return what a server in this namespace answers; errors are OSErrors. No proxies: those are the way out."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return bytes(answer.read())


def cpu_seconds(pid: int) -> float:
    """Return the CPU a process has used, user and system, all its threads; in steps of 10 ms."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process in MiB, now and at its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}
    return int(values["VmRSS"]) / 1024, int(values["VmHWM"]) / 1024


def machine_seconds() -> float:
    """Return the CPU that all processes of the machine have used."""
    # user nice system idle iowait irq softirq steal
    numbers = [int(number) for number in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / TICKS


def family_seconds(pids: Sequence[int]) -> float:
    """Return the CPU that processes and their living descendants have used; of one that has ended, nothing."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += cpu_seconds(pid) + family_seconds([int(child) for child in _children(pid)])
    return total


def _children(pid: int) -> list[str]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += (task / "children").read_text().split()
    return found


def _stat(pid: int) -> list[str]:
    # The second field is the command in parentheses and may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
