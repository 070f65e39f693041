"""``python -m tests.bench.rollout``: how long a version takes from the volume, or from Git, to all clients, beside its load.

The set-up is that of ``tests.bench.operator``: a real API server, controller manager and scheduler, kwok's nodes, the operator
as a process with its chart's rights, and one process that answers as every agent. Its versions load in no time; what else takes
time in a real pod is played as it was measured there: an agent at rest looks every 1.4 s and believes the second look, a touched
pod has its config after 0.1 s, and a model server polls every second.

The last line on stdout is one JSON object: ``drop_p50_seconds`` from a version that is complete on the volume to Ready with it,
``edit_p50_seconds`` the same from a change of spec, one TFModel at a time; ``upgrade_seconds``, ``requests_per_model`` and
``pods_created`` of a change of all ``n`` TFModels at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.bench.operator import audit, isolation, phases, window
from tests.bench.operator.__main__ import rounded
from tests.bench.operator.api import MERGE, Api
from tests.bench.operator.models import NAMESPACE, PATH, Models, ready
from tests.bench.operator.phases import Figures
from tests.bench.operator.processes import OperatorProcess
from tests.bench.operator.stage import Stage, stage
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError

POLL_SECONDS = 1.0
NEWEST = 2
"""Of the versions that the volume holds from the start."""
SEEN_SECONDS = 3.0
"""After so long every agent has called a version complete."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; an error is one message on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rollout", description=__doc__)
    parser.add_argument("--models", type=int, default=100, metavar="N", help="TFModels upgraded at once (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=15, help="rollouts of one TFModel at a time (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds anything may take (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        isolation.enter("tests.bench.rollout", arguments)
        with stage(given.models, poll_seconds=POLL_SECONDS) as made:
            figures = asyncio.run(_measure(made, given))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(rounded(figures)))
    return 0


async def _measure(made: Stage, given: argparse.Namespace) -> Figures:
    operator = made.operator()
    async with Api(made.cluster.url, made.cluster.state.plane.certificates.directory) as api, Models(api, given.models) as models:
        operator.start()
        try:
            await phases.synced_seconds(operator, 60)
            await models.apply()
            await models.all_ready(given.timeout)
            await window.rest(made, operator, given.timeout)
            bench = _Bench(made, operator, models, api, given)
            figures = await bench.one_at_a_time("drop", bench.drop)
            figures |= await bench.one_at_a_time("edit", bench.edit)
            return {**figures, **await bench.upgrade()}
        finally:
            operator.stop()


class _Bench:
    """Rollouts, of one TFModel or of all."""

    name = "model-00000"

    def __init__(self, made: Stage, operator: OperatorProcess, models: Models, api: Api, given: argparse.Namespace) -> None:
        self._made, self._operator, self._models, self._api, self._given = made, operator, models, api, given
        self.version = NEWEST

    async def one_at_a_time(self, what: str, begin: Callable[[], Awaitable[float]]) -> Figures:
        """Roll out one version after the other; ``begin`` returns when the clock began to run."""
        seconds = []
        for number in range(self._given.samples):
            self.version += 1
            seconds.append(await self._promoted(await begin()))
            say(f"{what} {number + 1} of {self._given.samples}: {seconds[-1]:.2f} s")
        return {f"{what}_p50_seconds": statistics.median(seconds), f"{what}_max_seconds": max(seconds)}

    async def drop(self) -> float:
        """A version, complete, comes on the volume of a TFModel that has `latest`."""
        await asyncio.to_thread(self._made.drop, self.version, self.name)
        return time.monotonic()

    async def edit(self) -> float:
        """Spec names a version that all pods have seen."""
        await self._api.patch(f"{PATH}/{self.name}", specific(self.version - 1), MERGE)
        await asyncio.to_thread(self._made.drop, self.version, self.name)
        await asyncio.sleep(SEEN_SECONDS)
        await self._api.patch(f"{PATH}/{self.name}", specific(self.version), MERGE)
        return time.monotonic()

    async def upgrade(self) -> Figures:
        """Have all TFModels serve another version, at once."""
        version = self.version + 1
        await self._models.change(specific(NEWEST)["spec"])
        await self._models.all_ready(self._given.timeout)
        await asyncio.to_thread(self._made.drop, version)
        await asyncio.sleep(SEEN_SECONDS)
        await window.rest(self._made, self._operator, self._given.timeout)
        opened, before = window.Window(self._made, self._operator), self.pods()
        await self._models.change(specific(version)["spec"])
        seen = opened.look(until=await self._models.all_ready(self._given.timeout))
        await window.rest(self._made, self._operator, self._given.timeout)
        settled = opened.look()
        return {
            "n": self._given.models, "upgrade_seconds": seen.seconds, "requests_per_model": len(settled.requests) / self._given.models,
            "pods_created": len(self.pods() - before), "requests_by_kind": audit.by_kind(settled.requests),
            "cpu_ms_per_model": settled.cpu_seconds / self._given.models * 1000, "others_cores": seen.others_cores}

    def pods(self) -> set[str]:
        """Return the UIDs of all pods."""
        return {pod["metadata"]["uid"] for pod in self._made.cluster.get("-n", NAMESPACE, "pods")["items"]}

    async def _promoted(self, started: float) -> float:
        """Return the seconds until it is Ready with the version that was begun last."""
        while time.monotonic() - started < self._given.timeout:
            body = await self._api.get(f"{PATH}/{self.name}")
            if ready(body) and body["status"].get("promotedVersion") == self.version:
                return time.monotonic() - started
            await asyncio.sleep(0.02)
        raise ClusterError(f"{self.name} did not promote version {self.version} in {self._given.timeout:.0f} s: {body['status']}")


def specific(version: int) -> dict[str, Any]:
    """Return the change of a TFModel that asks for one version by its number."""
    return {"spec": {"versionPolicy": {"latest": None, "specific": {"versions": [version]}}}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
