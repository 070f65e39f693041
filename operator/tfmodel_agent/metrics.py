"""The agent's metrics, made from its state at every scrape: what is gone from the state is gone from the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tfmodel_serving.state import AgentState


class Metrics:
    """The registry behind `/metrics`, and the counters the loop feeds."""

    def __init__(self, state: Callable[[], AgentState]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_StateCollector(state))
        self.reloads = Counter(
            "tfmodel_agent_reloads", "Reloads answered by the model server", ["result"], registry=self.registry
        )
        self.drifts = Counter(
            "tfmodel_agent_drifts",
            "Times the model server was found with another config than it had been given",
            registry=self.registry,
        )
        self.look_seconds = Histogram(
            "tfmodel_agent_look_seconds",
            "Time of one look at volume and model server",
            buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
            registry=self.registry,
        )


class _StateCollector(Collector):
    def __init__(self, state: Callable[[], AgentState]) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = self._state()
        for name, explanation, value in (
            ("ready", "1 if clients may be sent to the pod", state.ready),
            ("settled", "1 if nothing is left to do", state.settled),
            ("model_server_up", "1 if the model server answers", not state.server_message),
            ("model_server_suspect", "1 if the model server must be restarted", bool(state.suspect)),
            ("config_valid", "1 if the mounted config can be used", not state.config_message),
        ):
            yield GaugeMetricFamily(f"tfmodel_agent_{name}", explanation, value=float(value))
        available = GaugeMetricFamily(
            "tfmodel_agent_version_available", "1 if the version is AVAILABLE", labels=["model_name", "version"]
        )
        verified = GaugeMetricFamily(
            "tfmodel_agent_version_verified",
            "1 if the version is complete and sound on the volume",
            labels=["model_name", "version"],
        )
        crashes = GaugeMetricFamily(
            "tfmodel_agent_version_crashes",
            "Times the model server died while the version alone was loading",
            labels=["model_name", "version"],
        )
        model_available = GaugeMetricFamily(
            "tfmodel_agent_model_available", "1 if clients of the model get answers", labels=["model_name"]
        )
        for model in state.models:
            model_available.add_metric([model.name], float(model.available))
            for version in model.versions:
                labels = [model.name, str(version.version)]
                available.add_metric(labels, float(version.state == "AVAILABLE"))
                verified.add_metric(labels, float(version.verdict == "Verified"))
                if version.crashes:
                    crashes.add_metric(labels, float(version.crashes))
        yield from (available, verified, crashes, model_available)
        yield from _comparisons(state)


def _comparisons(state: AgentState) -> Iterator[GaugeMetricFamily]:
    """Return what came of comparisons; ``model_name`` is that of the candidate's entry."""

    def family(name: str, explanation: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"tfmodel_agent_comparison_{name}", explanation, labels=["model_name", "version", *labels])

    records = family("records", "Warmup requests that both versions answered")
    failures = family("failures", "Warmup requests that only the candidate failed on")
    relative = family("max_relative_difference", "Largest relative difference, 2 where no number can say it", "output")
    agreement = family("argmax_agreement", "Share of rows whose largest value is in the same place", "output")
    latency = family("latency_seconds", "Latency of the requests compared", "side", "quantile")
    for model in state.models:
        if (found := model.comparison) is None:
            continue
        labels = [model.name, str(found.version)]
        records.add_metric(labels, found.records)
        failures.add_metric(labels, found.failures)
        for output in found.outputs:
            relative.add_metric([*labels, output.name], output.max_relative)
            if output.argmax_of:
                agreement.add_metric([*labels, output.name], output.argmax_equal / output.argmax_of)
        for side, took in (("candidate", found.candidate), ("promoted", found.promoted)):
            latency.add_metric([*labels, side, "0.5"], took.median_seconds)
            latency.add_metric([*labels, side, "0.99"], took.p99_seconds)
    yield from (records, failures, relative, agreement, latency)
