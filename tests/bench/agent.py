"""The agent's figures, measured on a pod of plain processes; the last line is one JSON object.

`apply_*`: mounted files changed -> reload sent. `available_*`: -> version AVAILABLE (the server's own 1 s poll is in it).
`verified_*`: version directory complete -> reported verified. `start_seconds`: process started -> first reload sent.
`idle_millicores`, `rss_mb`: twenty models at rest. The others are those of :mod:`tests.bench.verify` and :mod:`.agent_shared`.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.agent.conftest import Pod
from tests.bench import agent_shared, verify
from tfmodel_serving.model_config import Specific

ROUNDS = 12
MODELS = 20
VERSIONS = 5
IDLE_SECONDS = 40.0
SETTLE_SECONDS = 12.0
"""Files are at rest only then."""


def main() -> None:
    """Run all and print."""
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as directory:
        figures: dict[str, object] = dict(verify.measure(Path(directory)))
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        pod = Pod(Path(directory) / "pod")
        try:
            figures |= measure(pod)
        finally:
            pod.stop()
        shared = Pod(Path(directory) / "shared")
        try:
            figures |= agent_shared.measure(shared)
        finally:
            shared.stop()
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}))


def measure(pod: Pod) -> dict[str, object]:
    for version in (1, 2):
        pod.put(version)
    pod.serve(pod.model(policy=Specific((1,))))
    pod.start_server()
    wait(lambda: pod.get("/v1/models/half", pod.rest_port)[0] == 404)
    begin = time.monotonic()
    pod.start_agent()
    wait(lambda: "Reloading the model server" in pod.logs())
    figures: dict[str, object] = {"start_seconds": time.monotonic() - begin}
    pod.wait_serving(1)
    applied, available = [], []
    for number in range(ROUNDS):
        version = 2 - number % 2
        sent = pod.logs().count("Reloading the model server")
        begin = time.monotonic()
        pod.serve(pod.model(policy=Specific((version,))))
        wait(lambda sent=sent: pod.logs().count("Reloading the model server") > sent)
        applied.append(time.monotonic() - begin)
        path = f"/v1/models/half/versions/{version}"
        wait(lambda path=path: '"AVAILABLE"' in pod.get(path, pod.rest_port)[1])
        available.append(time.monotonic() - begin)
        pod.wait_serving(version)
        print(f"round {number + 1} of {ROUNDS}: reload sent after {applied[-1]:.3f} s, AVAILABLE after {available[-1]:.2f} s", file=sys.stderr)
    figures |= {"apply_p50_seconds": statistics.median(applied), "apply_max_seconds": max(applied)}
    figures |= {"available_p50_seconds": statistics.median(available), "available_max_seconds": max(available)}
    return figures | idle(pod)


def idle(pod: Pod) -> dict[str, object]:
    """Return CPU and memory with twenty models at rest, and how long a new version takes to be verified."""
    for number in range(MODELS - 1):
        pod.put(1, name=f"m{number}")
    names = ["half", *(f"m{number}" for number in range(MODELS - 1))]
    pod.serve(*(pod.model(name) for name in names))
    for name in names:
        pod.wait_for(f"{name}", lambda name=name: pod.available(name), timeout=90)
    pod.wait_for("rest", lambda: pod.state()["settled"], timeout=30)
    assert pod.agent is not None
    time.sleep(SETTLE_SECONDS)
    before, begin = cpu_seconds(pod.agent.pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    used = (cpu_seconds(pod.agent.pid) - before) / (time.monotonic() - begin)
    status = Path(f"/proc/{pod.agent.pid}/status").read_text()
    rss = int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024
    return {"idle_millicores": used * 1000, "rss_mb": rss, "models": MODELS} | verified(pod)


def verified(pod: Pod) -> dict[str, object]:
    """Return how long after its directory was there versions were reported verified."""
    took = []
    for version in range(5, 5 + VERSIONS):
        pod.put(version)
        begin = time.monotonic()
        wait(lambda version=version: pod.version(version).get("verdict") == "Verified")
        took.append(time.monotonic() - begin)
        pod.wait_serving(version)
    return {"verified_p50_seconds": statistics.median(took), "verified_max_seconds": max(took)}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, by its own clock: /proc counts in hundredths."""
    return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of include/linux/posix-timers.h


def wait(look: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.005)


if __name__ == "__main__":
    main()
