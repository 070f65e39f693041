"""All facts about one TFModel's servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from tfmodel_operator.api import conditions, facts, spec
from tfmodel_operator.observe import agents, workload


async def observe(
    model: spec.TFModel,
    deployment: Mapping[str, Any] | None,
    pods: tuple[Mapping[str, Any], ...],
    session: aiohttp.ClientSession,
    *,
    config_hash: str,
    config_problem: conditions.Finding | None,
) -> facts.Facts:
    """Return what is known now; agents are asked all at once."""
    status = deployment.get("status", {}) if deployment else {}
    current = [pod for pod in pods if not workload.terminating(pod)]
    return facts.Facts(
        model=model,
        config_hash=config_hash,
        config_problem=config_problem,
        template_running=workload.template_running(deployment),
        replicas=status.get("replicas", 0),
        ready_replicas=status.get("readyReplicas", 0),
        pods=tuple(await asyncio.gather(*(_pod(pod, session) for pod in current))),
    )


async def _pod(pod: Mapping[str, Any], session: aiohttp.ClientSession) -> facts.PodFacts:
    name, uid, address = pod["metadata"]["name"], pod["metadata"]["uid"], pod.get("status", {}).get("podIP", "")
    ready, problem = workload.ready(pod), workload.problem(pod)
    if not address:
        return facts.PodFacts(name, ready, problem, agent_message="the pod has no address yet")
    try:
        return facts.PodFacts(name, ready, problem, agent=await agents.fetch_state(session, address, uid))
    except agents.AgentUnreachable as error:
        return facts.PodFacts(name, ready, problem, agent_message=str(error))
