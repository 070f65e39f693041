"""The phases of one run, each with its figures. All times are seconds, unless a name says otherwise."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.operator import audit, processes, window
from tests.bench.operator.api import Api, each
from tests.bench.operator.models import NAMESPACE, Models
from tests.bench.operator.processes import OperatorProcess
from tests.bench.operator.stage import Stage
from tests.bench.operator.window import Window

Figures = dict[str, Any]

SERVER = "serving.tfmodel.dev/server"
REFERENCE_OBJECTS = 200
GAP_MODELS = 3
GAP_PATIENCE_SECONDS = 60.0
GAP_SILENCE_SECONDS = 20.0
CONFIG_CHANGE: Mapping[str, Any] = {"versionPolicy": {"specific": {"versions": [1]}}}
TEMPLATE_CHANGE: Mapping[str, Any] = {"server": {"resources": {"requests": {"cpu": "100m"}}}}


@dataclass
class Run:
    """What the phases work on."""

    stage: Stage
    api: Api
    models: Models
    operator: OperatorProcess
    timeout: float
    idle_seconds: float

    @property
    def n(self) -> int:
        return self.models.count


async def reference(api: Api) -> Figures:
    """Apply plain ConfigMaps: what the machine and the API server give at this hour, whatever the operator does."""
    async def one(number: int) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"reference-{number}", "namespace": NAMESPACE},
                "data": {"text": "x" * 500}}
        await api.patch(f"/api/v1/namespaces/{NAMESPACE}/configmaps/reference-{number}", body)

    begin = time.monotonic()
    await each(range(REFERENCE_OBJECTS), one, at_once=8)
    return {"reference_apply_ms": (time.monotonic() - begin) / REFERENCE_OBJECTS * 1000}


async def apply(run: Run) -> Figures:
    """Apply all TFModels, until all are Ready; then until the operator is at rest, so that no work hides behind Ready."""
    opened = Window(run.stage, run.operator)
    await run.models.apply()
    ready_at = await run.models.all_ready(run.timeout)
    ready = opened.look(until=ready_at)
    now, peak = processes.rss_mb(run.operator.pid)
    await window.rest(run.stage, run.operator, run.timeout)
    settled = opened.look()
    return {
        "ready_seconds": ready.seconds,
        "requests_per_model": len(ready.requests) / run.n, "requests_by_verb": audit.by_verb(ready.requests),
        "requests_by_kind": audit.by_kind(ready.requests),
        "cpu_ms_per_model": ready.cpu_seconds / run.n * 1000, "rss_mb": now, "peak_rss_mb": peak,
        "settled_requests_per_model": len(settled.requests) / run.n,
        "settled_cpu_ms_per_model": settled.cpu_seconds / run.n * 1000,
        "agents_cpu_ms_per_model": ready.agents_cpu_seconds / run.n * 1000,
        "cluster_cpu_ms_per_model": ready.cluster_cpu_seconds / run.n * 1000, "others_cores": ready.others_cores}


async def idle(run: Run) -> Figures:
    """Let nothing happen for a while."""
    opened = Window(run.stage, run.operator)
    await asyncio.sleep(run.idle_seconds)
    run.operator.check()
    seen = opened.look()
    writes = [request for request in seen.requests if request.writes]
    return {"idle_writes": len(writes), "idle_lease_writes": sum(request.renews for request in seen.requests),
            "idle_requests": len(seen.requests), "idle_cpu_percent": seen.cpu_seconds / seen.seconds * 100}


async def update_config(run: Run) -> Figures:
    """Have every TFModel serve another version: no pod restarts."""
    return await _update(run, "update_config", CONFIG_CHANGE)


async def update_template(run: Run) -> Figures:
    """Change every pod template: every pod is replaced."""
    return await _update(run, "update_template", TEMPLATE_CHANGE)


async def _update(run: Run, name: str, spec: Mapping[str, Any]) -> Figures:
    opened = Window(run.stage, run.operator)
    await run.models.change(spec)
    ready_at = await run.models.all_ready(run.timeout)
    seen = opened.look(until=ready_at)
    await window.rest(run.stage, run.operator, run.timeout)
    settled = opened.look()
    return {f"{name}_seconds": seen.seconds, f"{name}_requests_per_model": len(settled.requests) / run.n,
            f"{name}_requests_by_kind": audit.by_kind(settled.requests),
            f"{name}_cpu_ms_per_model": settled.cpu_seconds / run.n * 1000}


async def restart(run: Run) -> Figures:
    """Stop the operator as a rollout does, and start it again."""
    return await _restart(run, "restart", signal.SIGTERM)


async def crash(run: Run) -> Figures:
    """Kill the operator, which can't hand over anything then, and start it again."""
    return await _restart(run, "crash", signal.SIGKILL)


async def _restart(run: Run, name: str, number: signal.Signals) -> Figures:
    """Settled is: its readiness probe says so, every agent has answered this process, and it is at rest."""
    mark = run.stage.audit.read()
    stopped = run.operator.stop(number)
    run.operator.start()
    begin = run.operator.started
    synced = await synced_seconds(run.operator, run.timeout)
    await window.wait("every agent to be asked by the new process", lambda: _all_asked(run, begin), run.timeout)
    rest = await window.rest(run.stage, run.operator, run.timeout)
    requests = run.stage.audit.since(mark)
    writes = [request for request in requests if request.writes]
    return {f"{name}_seconds": rest.since - begin, f"{name}_synced_seconds": synced, f"{name}_cpu_seconds": rest.cpu_seconds,
            f"{name}_writes": len(writes), f"{name}_writes_by_kind": audit.by_kind(writes), f"{name}_requests": len(requests),
            f"{name}_rss_mb": processes.rss_mb(run.operator.pid)[0], f"{name}_stop_seconds": stopped}


def _all_asked(run: Run, since: float) -> bool:
    run.operator.check()
    seen = run.stage.asked(since)
    return bool(seen["answered"] == seen["pods"])


async def synced_seconds(operator: OperatorProcess, seconds: float) -> float:
    """Return the seconds from the operator's start until its readiness probe said that all that exists is known."""
    await window.wait("the operator's readiness probe", operator.ready, seconds)
    return time.monotonic() - operator.started


async def gap(run: Run) -> Figures:
    """Delete TFModels while no watch tells of it, and see when the operator stops asking after their pods.

    The operator stands still meanwhile, and the API server starts anew after the deletions: it then knows nothing that went
    before and answers the old resource versions with 410, so that nobody is ever told.
    """
    operator = run.operator.process
    assert operator is not None
    cluster = run.stage.cluster
    pods = _pods(run)
    operator.send_signal(signal.SIGSTOP)
    try:
        cluster.restart("kube-apiserver")  # which ends all watches
        names = set(await run.models.delete(GAP_MODELS))
        theirs = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods if pod["metadata"]["labels"][SERVER] in names}
        cluster.wait_for("the pods of the deleted TFModels to go", lambda: set(theirs) & {pod["metadata"]["name"] for pod in _pods(run)},
                         timeout=120, done=lambda left: not left)
        cluster.restart("kube-apiserver")
        mark = run.stage.audit.read()
    finally:
        begin = time.monotonic()
        operator.send_signal(signal.SIGCONT)
    seconds = await _forgotten(run, set(theirs.values()), begin)
    return {"gap_seconds": seconds, "gap_requests_by_kind": audit.by_kind(run.stage.audit.since(mark))}


async def _forgotten(run: Run, addresses: set[str], begin: float) -> float | None:
    """Return the seconds until the operator asked at one of ``addresses`` for the last time; None if it goes on asking.

    It is over when nobody was asked there for 20 seconds; an operator that asks again later than that looks better than it is.
    """
    # One that is still busy with what the gap has brought is silent for want of time.
    rest = await window.rest(run.stage, run.operator, run.timeout)
    while (now := time.monotonic()) - rest.since < GAP_PATIENCE_SECONDS:
        await asyncio.sleep(0.25)
        run.operator.check()
        asked = run.stage.asked(begin)["nobody"]
        last = max([begin, *(at for address, at in asked.items() if address in addresses)])
        if now - max(last, rest.since) > GAP_SILENCE_SECONDS:
            return last - begin
    return None


def _pods(run: Run) -> list[dict[str, Any]]:
    return list(run.stage.cluster.get("-n", NAMESPACE, "pods", "-l", SERVER)["items"])


ORDER = {"apply": apply, "idle": idle, "update-config": update_config, "update-template": update_template,
         "restart": restart, "crash": crash, "gap": gap}
"""All phases, in the order in which they run."""
