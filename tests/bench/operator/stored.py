"""How long the operator takes from its start until it knows all there is, where many TFModels are stored already."""

from __future__ import annotations

from tests.bench.operator import phases, processes
from tests.bench.operator.api import Api
from tests.bench.operator.models import Models
from tests.bench.operator.phases import Figures
from tests.bench.operator.stage import Stage


async def measure(made: Stage, count: int, patience: float) -> Figures:
    """Store TFModels without an operator, start one, and look at it when its readiness probe says that it is synced."""
    operator = made.operator()
    async with Api(made.cluster.url, made.cluster.state.plane.certificates.directory) as api:
        figures = await phases.reference(api)
        await Models(api, count).apply()
        operator.start()
        try:
            synced = await phases.synced_seconds(operator, patience)
            now, peak = processes.rss_mb(operator.pid)
            return figures | {"synced_seconds": synced, "synced_cpu_seconds": processes.cpu_seconds(operator.pid),
                              "synced_rss_mb": now, "synced_peak_rss_mb": peak}
        finally:
            operator.stop()
