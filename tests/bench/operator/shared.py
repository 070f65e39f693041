"""``python -m tests.bench.operator.shared``: what models on shared servers cost; the last line on stdout is one JSON object.

``join_*``: one model more on a server with 50: its TFModel is applied → status says Ready, and the pod has its label; a version
is LOADING for half a second, as a toy model is with the agent's and the server's second looks. Requests count until the operator
is at rest. ``ready_seconds``, ``requests_per_model``, ``cpu_ms_per_model``: 500 models on 10 servers, applied → all Ready.
``agent_ms_per_model``: CPU of the real agent for one look at a model server with 50 models, by model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.agent.conftest import Pod
from tests.bench import agent_shared
from tests.bench.operator import audit, isolation, processes, profile, window
from tests.bench.operator.api import Api
from tests.bench.operator.models import CLAIM, NAMESPACE, Models
from tests.bench.operator.phases import Figures, reference, synced_seconds
from tests.bench.operator.processes import OperatorProcess
from tests.bench.operator.stage import Stage, stage
from tests.bench.operator.window import Window
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError

SERVERS_PATH = f"/apis/serving.tfmodel.dev/v1alpha1/namespaces/{NAMESPACE}/tfmodelservers"
JOINS = 5
LOADING_SECONDS = 0.5
TIMEOUT = 180.0


def server(name: str) -> dict[str, Any]:
    """Return a TFModelServer that has the claim mounted."""
    return {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModelServer", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": 1, "volumes": [{"claimName": CLAIM}]}}


def tfmodel(number: int, prefix: str, servers: int) -> dict[str, Any]:
    """Return a TFModel on one of the servers."""
    name = f"{prefix}-{number:04}"
    return {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModel", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"source": {"persistentVolumeClaim": {"claimName": CLAIM, "path": name}},
                     "serverRef": {"name": f"{prefix}-{number % servers}"}}}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; an error is one message on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator.shared", description=__doc__)
    parser.add_argument("--models", type=int, default=500, help="models on all servers together (default: %(default)s)")
    parser.add_argument("--servers", type=int, default=10, help="servers (default: %(default)s)")
    parser.add_argument("--members", type=int, default=50, help="models on the server that more join (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="say where the operator's CPU went, on stderr")
    given = parser.parse_args(arguments)
    try:
        isolation.enter("tests.bench.operator.shared", arguments)
        say("a look at 50 models")
        figures = {"agent_ms_per_model": _agent()}
        with stage(given.servers + 1, loading_seconds=LOADING_SECONDS) as made:
            figures |= asyncio.run(_measure(made, given))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}))
    return 0


def _agent() -> float:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        pod = Pod(Path(directory) / "pod")
        try:
            return agent_shared.measure_looks(pod)
        finally:
            pod.stop()


async def _measure(made: Stage, given: argparse.Namespace) -> Figures:
    file = made.cluster.directory / "profile.json" if given.profile else None
    operator = made.operator(profile=file)
    async with Api(made.cluster.url, made.cluster.state.plane.certificates.directory) as api:
        figures = await reference(api)
        operator.start()
        try:
            await synced_seconds(operator, 60)
            await window.rest(made, operator, 60)
            sampling = profile.Profile(operator, file) if file else None
            for phase, what in ((_apply, "apply"), (_join, "join")):
                if sampling:
                    sampling.take()
                before = processes.cpu_seconds(operator.pid)
                figures |= await phase(made, operator, api, given)
                if sampling:
                    used = processes.cpu_seconds(operator.pid) - before
                    print(profile.report(what, sampling.take(), used, given.models), file=sys.stderr, flush=True)
            return figures
        finally:
            operator.stop()


async def _apply(made: Stage, operator: OperatorProcess, api: Api, given: argparse.Namespace) -> Figures:
    say(f"{given.models} models on {given.servers} servers")
    async with Models(api, given.models, lambda number: tfmodel(number, "many", given.servers)) as models:
        opened = Window(made, operator)
        for number in range(given.servers):
            await api.patch(f"{SERVERS_PATH}/many-{number}", server(f"many-{number}"))
        await models.apply()
        ready = opened.look(until=await models.all_ready(TIMEOUT))
        await window.rest(made, operator, TIMEOUT)
        settled = opened.look()
    return {"ready_seconds": ready.seconds, "requests_per_model": len(settled.requests) / given.models,
            "requests_by_kind": audit.by_kind(settled.requests), "cpu_ms_per_model": settled.cpu_seconds / given.models * 1000,
            "others_cores": settled.others_cores}


async def _join(made: Stage, operator: OperatorProcess, api: Api, given: argparse.Namespace) -> Figures:
    say(f"{JOINS} more on a server with {given.members}")
    await api.patch(f"{SERVERS_PATH}/one-0", server("one-0"))
    async with Models(api, given.members, lambda number: tfmodel(number, "one", 1)) as models:
        await models.apply()
        await models.all_ready(TIMEOUT)
        await window.rest(made, operator, TIMEOUT)
        took, asked, kinds = [], [], {}
        for number in range(JOINS):
            opened, begin = Window(made, operator), time.monotonic()
            await models.apply_one(given.members + number)
            took.append(await models.all_ready(TIMEOUT) - begin)
            await window.rest(made, operator, TIMEOUT)
            requests = opened.look().requests
            asked.append(len([one for one in requests if one.kind != "leases"]))
            kinds = audit.by_kind(one for one in requests if one.kind != "leases")
    return {"join_seconds": statistics.median(took), "join_max_seconds": max(took), "join_requests": statistics.median(asked),
            "join_max_requests": max(asked), "join_requests_by_kind": kinds}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
