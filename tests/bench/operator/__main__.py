"""``python -m tests.bench.operator``: what the operator costs; the last line on stdout is one JSON object.

A real API server with controller manager and scheduler, kwok's fake nodes, one process that answers for all agents, and the
operator as a process with the rights its chart gives it. Controller manager and scheduler may ask the API server 300 times a
second instead of 20 and 50, as clusters of thousands of pods have it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.operator import isolation, phases, profile, stored, window
from tests.bench.operator.api import Api
from tests.bench.operator.models import Models
from tests.bench.operator.phases import Figures, Run
from tests.bench.operator.stage import Stage, stage
from tests.cluster.cache import say
from tests.cluster.errors import ClusterError


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; an error is one message on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--models", type=int, default=400, metavar="N", help="TFModels (default: %(default)s)")
    parser.add_argument("--stored", action="store_true", help="only start the operator where N TFModels are stored already")
    parser.add_argument("--runs", type=int, default=1, help="repeat on a new cluster each, and give medians (default: %(default)s)")
    parser.add_argument("--phases", nargs="+", choices=list(phases.ORDER), default=list(phases.ORDER), help="default: all")
    parser.add_argument("--idle-seconds", type=float, default=60, help="length of the phase idle (default: %(default)s)")
    parser.add_argument("--loading-seconds", type=float, default=0, help="a version is LOADING so long (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="say where the operator's CPU went, by phase, on stderr")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds a phase may take (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        isolation.enter("tests.bench.operator", arguments)
        measure = _stored if given.stored else _run
        runs = [_announced(number, measure, given) for number in range(given.runs)]
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(median(runs)))
    return 0


def _announced(number: int, measure: Callable[[argparse.Namespace], Figures], given: argparse.Namespace) -> Figures:
    figures = {"n": given.models, **measure(given)}
    say(f"run {number + 1} of {given.runs}: {json.dumps(rounded(figures))}")
    return figures


def _stored(given: argparse.Namespace) -> Figures:
    with stage(given.models, nodes=False) as made:
        return asyncio.run(stored.measure(made, given.models, given.timeout))


def _run(given: argparse.Namespace) -> Figures:
    with stage(given.models, loading_seconds=given.loading_seconds) as made:
        return asyncio.run(_phases(made, given))


async def _phases(made: Stage, given: argparse.Namespace) -> Figures:
    file = made.cluster.directory / "profile.json" if given.profile else None
    operator = made.operator(profile=file)
    async with Api(made.cluster.url, made.cluster.state.plane.certificates.directory) as api, Models(api, given.models) as models:
        figures = await phases.reference(api)
        operator.start()
        try:
            await phases.synced_seconds(operator, 60)
            await window.rest(made, operator, 60)
            sampling = profile.Profile(operator, file) if file else None
            run = Run(made, api, models, operator, given.timeout, given.idle_seconds)
            for name, phase in phases.ORDER.items():
                if name in given.phases:
                    say(f"phase {name}")
                    figures |= await (profile.profiled(name, phase, run, sampling) if sampling else phase(run))
        finally:
            operator.stop()
    return figures


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure over all runs; what isn't a number is the last run's."""
    found: Figures = {"runs": len(runs)}
    for key, last in runs[-1].items():
        values = [run[key] for run in runs]
        numbers = all(isinstance(value, int | float) for value in values)
        found[key] = statistics.median(values) if numbers else last
    return rounded(found)


def rounded(value: Any) -> Any:
    """Return figures as people want to read them."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
