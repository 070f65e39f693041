"""What the operator does between two moments, and when it is at rest."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.operator import processes
from tests.bench.operator.audit import Request
from tests.bench.operator.processes import OperatorProcess
from tests.bench.operator.stage import Stage
from tests.cluster.errors import WaitTimeout

LOOK_SECONDS = 0.25
BUSY = 0.25
"""Share of a core above which the operator is not at rest. Work that is due takes all of one, or waits for the API server."""
QUIET_SECONDS = 3.0


@dataclass(frozen=True)
class Seen:
    """What was seen in a window.

    Args:
        others_cores: Cores that were busy with what has nothing to do with the benchmark: how noisy the machine was.
    """

    seconds: float
    cpu_seconds: float
    agents_cpu_seconds: float
    cluster_cpu_seconds: float
    others_cores: float
    requests: list[Request]


class Window:
    """Opened when it is made."""

    def __init__(self, stage: Stage, operator: OperatorProcess) -> None:
        self._stage, self._operator = stage, operator
        self._mark = stage.audit.read()
        self._begin = self._now()

    def look(self, until: float | None = None) -> Seen:
        """Return what has been seen so far.

        Args:
            until: When that which was waited for came, of time.monotonic(); by default now.
        """
        requests = self._stage.audit.since(self._mark)
        (began, cpu, agents, cluster, others), (now, *after) = self._begin, self._now()
        return Seen((until or now) - began, after[0] - cpu, after[1] - agents, after[2] - cluster,
                    (after[3] - others) / (now - began), requests)

    def _now(self) -> tuple[float, float, float, float, float]:
        agents = self._stage.agents
        operator = processes.cpu_seconds(self._operator.pid)
        answering = processes.cpu_seconds(agents.pid) if agents else 0.0
        cluster = processes.family_seconds(self._stage.cluster_pids())
        ours = operator + answering + cluster + processes.cpu_seconds(os.getpid())
        return time.monotonic(), operator, answering, cluster, processes.machine_seconds() - ours


async def wait(description: str, look: Callable[[], object], seconds: float) -> None:
    """Look every 50 ms until there is a true answer.

    Raises:
        WaitTimeout: None came in time.
    """
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(look):
        if time.monotonic() > deadline:
            raise WaitTimeout(f"waited {seconds:.0f} s for {description}")
        await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Rest:
    """When the operator came to rest (of time.monotonic()), and the CPU its process had used by then."""

    since: float
    cpu_seconds: float


async def rest(stage: Stage, operator: OperatorProcess, patience: float) -> Rest:
    """Wait until the operator has nothing left to do, seen from outside: for three seconds it has asked the API server for
    nothing and used less than a quarter of a core.

    Returns:
        The begin of these three seconds.

    Raises:
        WaitTimeout: It does not come to rest.
    """
    deadline = time.monotonic() + patience
    found = Rest(time.monotonic(), processes.cpu_seconds(operator.pid))
    mark, then, used = stage.audit.read(), found.since, found.cpu_seconds
    while time.monotonic() - found.since < QUIET_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        operator.check()
        now, cpu = time.monotonic(), processes.cpu_seconds(operator.pid)
        asked = [request for request in stage.audit.since(mark) if request.verb != "watch" and request.kind != "leases"]
        if asked or (cpu - used) / (now - then) > BUSY:
            found = Rest(now, cpu)
        mark, then, used = len(stage.audit.requests), now, cpu
        if now > deadline:
            raise WaitTimeout(f"the operator is not at rest after {patience:.0f} s; in the last {LOOK_SECONDS} s it used "
                              f"{cpu - used:.2f} s of CPU and asked for {[f'{one.verb} {one.kind}' for one in asked[:10]]}")
    return found
