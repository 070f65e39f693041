"""Where the operator's CPU went, from the samples of ``profiler``: by part, by function, by function with all it calls."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.operator import processes
from tests.bench.operator.phases import Figures, Run
from tests.bench.operator.processes import OperatorProcess
from tests.cluster.errors import ClusterError

TOP = 30
LAUNCH = ("<frozen runpy>", str(Path(__file__).with_name("profiler.py")))
"""Around everything, and nobody's cost."""
# Whom a function belongs to, by a piece of its file's path; what matches nothing belongs to its caller.
PARTS = {"/json/": "json", "/logging/": "logging", "/pythonjsonlogger/": "logging", "/kopf/": "kopf",
         "/tfmodel_operator/": "operator", "/tfmodel_serving/": "operator", "/google/protobuf/": "protobuf",
         "/aiohttp/": "http", "/yarl/": "http", "/multidict/": "http", "/ssl.py": "http", "/asyncio/": "event loop",
         "uvloop": "event loop"}

Sample = tuple[Sequence[str], int]


@dataclass
class Profile:
    """The profile of a running operator, cut into pieces by ``take``."""

    operator: OperatorProcess
    file: Path

    def take(self) -> list[Sample]:
        """Return the samples since the last call."""
        self.file.unlink(missing_ok=True)
        assert self.operator.process is not None
        self.operator.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 10
        while not self.file.exists():
            if time.monotonic() > deadline:
                raise ClusterError("the profiler wrote nothing within 10 s")
            time.sleep(0.02)
        return [(tuple(stack), count) for stack, count in json.loads(self.file.read_text())]


async def profiled(name: str, phase: Callable[[Run], Awaitable[Figures]], run: Run, profile: Profile) -> Figures:
    """Run a phase and print its profile; restarts are profiled from the start of the process on."""
    profile.take()
    pid, before = run.operator.pid, processes.cpu_seconds(run.operator.pid)
    figures = await phase(run)
    used = processes.cpu_seconds(run.operator.pid) - (before if run.operator.pid == pid else 0.0)
    print(report(name, profile.take(), used, run.n), file=sys.stderr, flush=True)
    return figures


def part_of(stack: Sequence[str]) -> str:
    """Return the part that the innermost frame works for."""
    for frame in stack:
        for piece, part in PARTS.items():
            if piece in frame:
                return part
    return "other"


def report(title: str, samples: Sequence[Sample], cpu_seconds: float, n: int) -> str:
    """Return the tables as text; milliseconds are those of ``cpu_seconds`` shared out over the samples, per TFModel."""
    total = sum(count for _, count in samples) or 1
    each = cpu_seconds / total / n * 1000
    parts: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for stack, count in samples:
        parts[part_of(stack)] += count
        alone[stack[0]] += count
        within.update(dict.fromkeys((frame for frame in stack if not frame.startswith(LAUNCH)), count))
    lines = [f"profile of {title}: {cpu_seconds:.2f} s of CPU, {total} samples; columns: percent, ms per TFModel"]
    for heading, counted in (("by part", parts), (f"top {TOP}, themselves", alone), (f"top {TOP}, with what they call", within)):
        lines += [f"  {heading}", *(f"    {count / total:6.1%} {count * each:8.3f}  {_short(name)}" for name, count in counted.most_common(TOP))]
    return "\n".join(lines)


def _short(frame: str) -> str:
    path, _, function = frame.rpartition(":")
    if not path:
        return frame
    for root in ("/site-packages/", "/operator/", "/lib/"):
        path = path.rpartition(root)[2]
    return f"{path}:{function}"
