"""What `status.rollout.comparison` says: over all pods, the worst of each number."""

from __future__ import annotations

from typing import Any

from tfmodel_operator.plan.rollout.facts import Facts
from tfmodel_operator.plan.rollout.step import Step
from tfmodel_serving import model_config, state

MESSAGE_CHARACTERS = 1024


def status(step: Step, found: Facts, model: str) -> dict[str, Any]:
    """Return how the answers of the candidate on trial compare, or those of the last one that was: empty: not compared (yet)."""
    return of(found, model, step.candidate) or dict(step.record.compared)


def of(found: Facts, model: str, version: int | None) -> dict[str, Any]:
    """Return how the answers of ``version``, on trial, compare with those of the promoted version; empty: not compared (yet)."""
    results = [result for result in _results(found, model) if result.version == version]
    if not results:
        return {}
    told: dict[str, Any] = {
        "version": results[0].version,
        "against": results[0].against,
        "pods": len(results),
        "records": sum(result.records for result in results),
    }
    if told["records"]:  # else nothing has been timed
        told |= {
            "candidateMedianMillis": _millis(max(result.candidate.median_seconds for result in results)),
            "candidateP99Millis": _millis(max(result.candidate.p99_seconds for result in results)),
            "promotedMedianMillis": _millis(max(result.promoted.median_seconds for result in results)),
            "promotedP99Millis": _millis(max(result.promoted.p99_seconds for result in results)),
        }
    if outputs := [output for result in results for output in result.outputs]:
        told["outputs"] = _outputs(outputs)
    if message := next((result.message for result in results if result.message), ""):
        told["message"] = state.clean(message, MESSAGE_CHARACTERS)
    return told


def _results(found: Facts, model: str) -> list[state.Comparison]:
    reports = [pod.report.model(model_config.candidate_name(model)) for pod in found.pods if pod.report]
    return [report.comparison for report in reports if report is not None and report.comparison is not None]


def _outputs(outputs: list[state.OutputDifference]) -> list[dict[str, Any]]:
    """Return one entry per output, the one that differs most first."""
    by_name: dict[str, list[state.OutputDifference]] = {}
    for output in outputs:
        by_name.setdefault(output.name, []).append(output)
    told = [_output(name, found) for name, found in by_name.items()]
    worst_first = sorted(told, key=lambda one: (-float(one["maxRelativeDifference"]), one["name"]))
    return worst_first[: state.MAX_NAMES]


def _output(name: str, found: list[state.OutputDifference]) -> dict[str, Any]:
    rows = sum(output.argmax_of for output in found)
    agreed = sum(output.argmax_equal for output in found)
    told = {
        "name": state.clean(name, state.NAME_CHARACTERS),
        "maxRelativeDifference": f"{max(output.max_relative for output in found):.6g}",
        "maxAbsoluteDifference": f"{max(output.max_absolute for output in found):.6g}",
    }
    return {**told, **({"sameArgmax": f"{agreed}/{rows}"} if rows else {})}


def _millis(seconds: float) -> str:
    return f"{1000 * seconds:.4g}"
