"""The metrics users look at, and their Prometheus page.

Sources: servables/tensorflow/util.cc, util/prometheus_exporter.cc; buckets from TensorFlow's monitoring library. Metrics of
TensorFlow's own, in its library, cannot be read through the C API: the two about loading SavedModels are kept here instead.
"""

from __future__ import annotations

import bisect
import re
import threading
from collections.abc import Iterable


class _Metric:
    """One named metric; a cell per combination of label values."""

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self._labels = labels
        self._lock = threading.Lock()
        REGISTRY[name] = self

    @property
    def exposed_name(self) -> str:
        """The Prometheus name; the leading colon is the original's."""
        return re.sub(r"[^a-zA-Z0-9_]", ":", self.name)

    def _label_text(self, values: tuple[str, ...]) -> str:
        escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
        return ",".join(f'{label}="{value}"' for label, value in zip(self._labels, escaped, strict=True))

    def first_value(self) -> int:
        """Return the integer value of the first cell, 0 if there is none (a histogram has no integer value)."""
        return 0

    def lines(self) -> list[str]:
        """Return the metric's lines of the page."""
        raise NotImplementedError


REGISTRY: dict[str, _Metric] = {}


class Counter(_Metric):
    """Counts."""

    def __init__(self, name: str, *labels: str) -> None:
        super().__init__(name, *labels)
        self._cells: dict[tuple[str, ...], int] = {}

    def increment(self, by: int, *values: str) -> None:
        """Add ``by`` to the cell of these label values."""
        with self._lock:
            self._cells[values] = self._cells.get(values, 0) + by

    def first_value(self) -> int:
        """Return the first cell's count."""
        with self._lock:
            return next(iter(self._cells.values()), 0)

    def lines(self) -> list[str]:
        """Return ``# TYPE`` and one line a cell."""
        with self._lock:
            cells = dict(self._cells)
        name = self.exposed_name
        return [f"# TYPE {name} counter", *(f"{name}{{{self._label_text(v)}}} {n}" for v, n in cells.items())]


class Sampler(_Metric):
    """A histogram with exponentially growing buckets."""

    def __init__(self, name: str, *labels: str, scale: float, growth: float, count: int) -> None:
        super().__init__(name, *labels)
        self._limits = [scale * growth**power for power in range(count - 1)]
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def add(self, sample: float, *values: str) -> None:
        """Add a sample to the cell of these label values."""
        with self._lock:
            counts, total = self._cells.setdefault(values, ([0] * (len(self._limits) + 1), [0.0]))
            counts[bisect.bisect_right(self._limits, sample)] += 1
            total[0] += sample

    def lines(self) -> list[str]:
        """Return ``# TYPE`` and per cell the cumulative buckets, sum and count."""
        with self._lock:
            cells = {values: (list(counts), total[0]) for values, (counts, total) in self._cells.items()}
        name = self.exposed_name
        lines = [f"# TYPE {name} histogram"]
        for values, (counts, total) in cells.items():
            labels = self._label_text(values)
            cumulative = 0
            for limit, count in zip([*map(_short, self._limits), "+Inf"], counts, strict=True):
                cumulative += count
                lines.append(f'{name}_bucket{{{labels},le="{limit}"}} {cumulative}')
            lines.append(f"{name}_sum{{{labels}}} {_short(total)}")
            lines.append(f"{name}_count{{{labels}}} {cumulative}")
        return lines


def _short(number: float) -> str:
    return f"{number:.6g}"  # absl::StrCat


def page() -> str:
    """Return the Prometheus page; metrics in name order."""
    return "\n".join(line for _, metric in sorted(REGISTRY.items()) for line in metric.lines()) + "\n"


def values(names: Iterable[str]) -> dict[str, int]:
    """Return the integer values of metrics by their original names; unknown ones are 0."""
    return {name: REGISTRY[name].first_value() if name in REGISTRY else 0 for name in names}


def _latency(name: str, *labels: str) -> Sampler:
    return Sampler(name, *labels, scale=10, growth=1.8, count=33)


request_count = Counter("/tensorflow/serving/request_count", "model_name", "status")
request_latency = _latency("/tensorflow/serving/request_latency", "model_name", "API", "entrypoint")
runtime_latency = _latency("/tensorflow/serving/runtime_latency", "model_name", "API", "runtime")
request_example_counts = Sampler("/tensorflow/serving/request_example_counts", "model", scale=1, growth=2, count=15)
request_example_count_total = Counter("/tensorflow/serving/request_example_count_total", "model")
model_warmup_latency = _latency("/tensorflow/serving/model_warmup_latency", "model_path", "status")
model_warmup_records_read = Counter("/tensorflow/serving/model_warmup_records_read", "model_path", "status")
load_attempt_count = Counter("/tensorflow/cc/saved_model/load_attempt_count", "model_path", "status")
load_latency = Counter("/tensorflow/cc/saved_model/load_latency", "model_path")
