"""All facts about one TFModel's servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfmodel_operator.api import conditions, facts, labels, spec
from tfmodel_operator.observe import agents, pods, workload


def observe(
    model: spec.TFModel,
    deployment: Mapping[str, Any] | None,
    found: Iterable[facts.PodFacts],
    *,
    config_hash: str,
    config_problem: conditions.Finding | None,
    rollout: facts.Rollout,
) -> facts.Facts:
    """Return what is known now.

    Args:
        deployment: As it was last seen or applied, whichever is later.
        found: The server's pods that are not on their way out.
        config_hash: Of the ConfigMap that follows from the spec of this generation.
        config_problem: Why the objects of this generation could not all be applied.
        rollout: What it says of itself.
    """
    return facts.Facts(
        model=model,
        config_hash=config_hash,
        config_problem=config_problem,
        deployment=workload.deployment_facts(deployment),
        pods=tuple(found),
        rollout=rollout,
    )


def pod_facts(
    deployment: Mapping[str, Any] | None, found: Iterable[Mapping[str, Any]], report: Callable[[str], agents.Report]
) -> tuple[facts.PodFacts, ...]:
    """Return what is known of the pods alone, by name.

    Args:
        found: The server's pods that are not on their way out.
        report: Gives the last word of the agent in the pod with this UID.
    """
    return tuple(_pod(pod, deployment, report(pod["metadata"]["uid"])) for pod in sorted(found, key=_name))


def _pod(pod: Mapping[str, Any], deployment: Mapping[str, Any] | None, report: agents.Report) -> facts.PodFacts:
    return facts.PodFacts(
        name=_name(pod),
        current=workload.current(pod, deployment),
        ready=pods.ready(pod),
        problem=pods.problem(pod),
        phase=pods.phase(pod),
        agent_started=pods.agent_started(pod),
        agent=report.state,
        agent_message=report.message,
        claims=pods.claims(pod),
        config=pod["metadata"].get("annotations", {}).get(labels.CONFIG, ""),
        unschedulable=pods.unschedulable(pod),
        crash=pods.crash(pod),
        crashed_at=pods.crashed_at(pod),
        restarts=pods.restarts(pod),
    )


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])
