"""What is known about a TFModel's servers at one moment: the input of every judgement."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api import conditions, spec
from tfmodel_serving.state import AgentState


@dataclasses.dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod.

    Args:
        problem: Why it can't start, in the scheduler's or the kubelet's words.
        agent: What its agent says, or None.
        agent_message: Why its agent says nothing.
    """

    name: str
    ready: bool = False
    problem: conditions.Finding | None = None
    agent: AgentState | None = None
    agent_message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """One TFModel and its server.

    Args:
        config_problem: Why the objects can't be as spec asks.
        config_hash: Of the config that was published.
        template_running: All pods that exist are of the template last applied.
        pods: Without those that are terminating.
    """

    model: spec.TFModel
    config_hash: str = ""
    config_problem: conditions.Finding | None = None
    template_running: bool = False
    replicas: int = 0
    ready_replicas: int = 0
    pods: tuple[PodFacts, ...] = ()

    @property
    def reports(self) -> tuple[tuple[str, AgentState], ...]:
        """Pod name and state of every agent that answered."""
        return tuple((pod.name, pod.agent) for pod in self.pods if pod.agent is not None)
