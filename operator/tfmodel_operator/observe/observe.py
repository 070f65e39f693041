"""All facts about one TFModel's servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tfmodel_operator.api import conditions, facts, spec
from tfmodel_operator.observe import agents, workload


def observe(
    model: spec.TFModel,
    deployment: Mapping[str, Any] | None,
    pods: tuple[Mapping[str, Any], ...],
    report: Callable[[str], agents.Report],
    *,
    config_hash: str,
    config_problem: conditions.Finding | None,
) -> facts.Facts:
    """Return what is known now.

    Args:
        pods: Those that are not on their way out.
        report: Gives the last word of the agent in the pod with this UID.
    """
    status = deployment.get("status", {}) if deployment else {}
    return facts.Facts(
        model=model,
        config_hash=config_hash,
        config_problem=config_problem,
        template_running=workload.template_running(deployment),
        replicas=status.get("replicas", 0),
        ready_replicas=status.get("readyReplicas", 0),
        pods=tuple(_pod(pod, report) for pod in pods),
    )


def _pod(pod: Mapping[str, Any], report: Callable[[str], agents.Report]) -> facts.PodFacts:
    found = report(pod["metadata"]["uid"])
    message = found.message if pod.get("status", {}).get("podIP") else "the pod has no address yet"
    return facts.PodFacts(
        pod["metadata"]["name"], workload.ready(pod), workload.problem(pod), agent=found.state, agent_message=message
    )
