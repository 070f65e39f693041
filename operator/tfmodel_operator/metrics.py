"""What `/metrics` says: of the operator's own work, and of the TFModels it works for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tfmodel_operator.cluster.reflector import Reflector
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.cluster.sweep import Sweep

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one operator process, in a registry of its own."""

    def __init__(self, image: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = prometheus_client.CollectorRegistry()
        prefix, registry = "tfmodel_operator", self.registry
        self.reconciled = prometheus_client.Counter(
            f"{prefix}_reconcile",
            "Passes over a TFModel by result: done, or error (of the API server), bug and held (namespace refused), tried again",
            ["result"],
            registry=registry,
        )
        self.duration = prometheus_client.Histogram(
            f"{prefix}_reconcile_duration_seconds", "Time one pass took", buckets=SECONDS, registry=registry
        )
        self.requests = prometheus_client.Counter(
            f"{prefix}_api_requests", "Requests to the API server; code 0: no answer", ["verb", "code"], registry=registry
        )
        build = prometheus_client.Gauge(
            f"{prefix}_build_info", "1; the label says which image runs", ["image"], registry=registry
        )
        build.labels(image).set(1)

    def count_request(self, verb: str, code: int) -> None:
        """Count one request to the API server."""
        self.requests.labels(verb, str(code)).inc()

    def show(
        self, store: Store, reflectors: Sequence[Reflector], sweeps: Sequence[Sweep], queue: Sized, leads: Callable[[], bool]
    ) -> None:
        """Have what is asked for at each scrape shown too."""
        self.registry.register(_Work(reflectors, sweeps, queue, leads))
        self.registry.register(_Models(store, leads))
        self.registry.register(_Servers(store, leads))


def refused(reflectors: Sequence[Reflector], sweeps: Sequence[Sweep]) -> set[str]:
    """Return the namespaces that are kept from us, wholly or in part."""
    found = {one.namespace for one in reflectors if one.refused and one.namespace is not None}
    return found.union(*(one.refused for one in sweeps))


class _Work(Collector):
    def __init__(self, reflectors: Sequence[Reflector], sweeps: Sequence[Sweep], queue: Sized, leads: Callable[[], bool]) -> None:
        self._reflectors = reflectors
        self._sweeps = sweeps
        self._queue = queue
        self._leads = leads

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("tfmodel_operator_leader", "1 if this replica is the one that works", value=self._leads())
        yield GaugeMetricFamily("tfmodel_operator_queue_depth", "TFModels that wait for a pass", value=len(self._queue))
        kept = GaugeMetricFamily(
            "tfmodel_operator_namespace_refused", "1 for a namespace that is to be watched and kept from us", labels=["namespace"]
        )
        for namespace in sorted(refused(self._reflectors, self._sweeps)):
            kept.add_metric([namespace], 1)
        yield kept
        now = time.monotonic()
        ages = {one.kind.plural: now - one.finished for one in self._sweeps}
        for one in self._reflectors:
            age = now - one.last_event
            ages[one.kind.plural] = max(age, ages.get(one.kind.plural, 0.0))
        family = GaugeMetricFamily(
            "tfmodel_operator_watch_last_event_age_seconds",
            "Since a watch last told anything, a bookmark included; of TFModels and TFModelServers, since they were last listed",
            labels=["resource"],
        )
        for resource, age in ages.items():
            family.add_metric([resource], age)
        yield family


class _Models(Collector):
    """TFModels as kube-state-metrics would show them; by the leader alone, so that none is there twice."""

    def __init__(self, store: Store, leads: Callable[[], bool]) -> None:
        self._store = store
        self._leads = leads

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "tfmodel_info", "1; the labels say what it serves", labels=["namespace", "tfmodel", "model_name", "promoted_version"]
        )
        condition = GaugeMetricFamily(
            "tfmodel_status_condition",
            "1 for the status that a condition has now",
            labels=["namespace", "tfmodel", "type", "status"],
        )
        for key in self._store.models() if self._leads() else ():
            body = self._store.model(key) or {}
            status = body.get("status", {})
            model_name = str(body.get("spec", {}).get("modelName", key[1]))
            info.add_metric([*key, model_name, str(status.get("promotedVersion", ""))], 1)
            for one in status.get("conditions", []):
                condition.add_metric([*key, one["type"], one["status"]], 1)
        yield info
        yield condition


class _Servers(Collector):
    """TFModelServers, in the words of their status; by the leader alone, as TFModels."""

    def __init__(self, store: Store, leads: Callable[[], bool]) -> None:
        self._store = store
        self._leads = leads

    def collect(self) -> Iterator[Metric]:
        name = ["namespace", "tfmodelserver"]
        models = GaugeMetricFamily(
            "tfmodelserver_models",
            "TFModels by what has become of them: joined, of these loaded in every ready pod, and refused",
            labels=[*name, "state"],
        )
        pods = GaugeMetricFamily("tfmodelserver_pods", "Pods: all there are, and the ready ones", labels=[*name, "state"])
        config = GaugeMetricFamily("tfmodelserver_config_bytes", "Of the published config of all its models", labels=name)
        memory = GaugeMetricFamily(
            "tfmodelserver_models_estimated_bytes", "What its models are taken to need in memory", labels=name
        )
        condition = GaugeMetricFamily(
            "tfmodelserver_status_condition", "1 for the status that a condition has now", labels=[*name, "type", "status"]
        )
        for key, status in self._statuses():
            for state in ("joined", "loaded", "refused"):
                models.add_metric([*key, state], status.get("models", {}).get(state, 0))
            for state, field in (("all", "replicas"), ("ready", "readyReplicas")):
                pods.add_metric([*key, state], status.get(field, 0))
            config.add_metric(key, status.get("configBytes", 0))
            memory.add_metric(key, status.get("memory", {}).get("estimatedBytes", 0))
            for one in status.get("conditions", []):
                condition.add_metric([*key, one["type"], one["status"]], 1)
        yield from (models, pods, config, memory, condition)

    def _statuses(self) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
        for body in self._store.shared_servers() if self._leads() else ():
            yield (body["metadata"]["namespace"], body["metadata"]["name"]), body.get("status", {})
