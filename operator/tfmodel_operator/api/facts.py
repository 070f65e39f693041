"""What is known about a TFModel's servers at one moment: the input of every judgement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import conditions, spec
from tfmodel_serving.state import AgentState


@dataclasses.dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod.

    Args:
        current: It is of the template that was applied last.
        ready: The kubelet says so.
        problem: Why it can't start, in the scheduler's or the kubelet's words.
        phase: How far it is, for people, while it isn't ready.
        agent_started: The container of its agent runs: the agent should answer.
        agent: What its agent says, or None.
        agent_message: Why its agent says nothing.
        claims: Of a shared server's pod: the claims that it has mounted.
        config: The ConfigMap it has, if that is one for one content alone; else ``""``.
        unschedulable: There is no room for it.
        crash: Why its model server keeps ending, in the kubelet's words; ``""`` unless it crashes again and again.
        crashed_at: When its model server last ended by itself, in Unix seconds.
        restarts: How often its model server has been started again.
    """

    name: str
    current: bool = True
    ready: bool = False
    problem: conditions.Finding | None = None
    phase: str = ""
    agent_started: bool = False
    agent: AgentState | None = None
    agent_message: str = ""
    claims: frozenset[str] = frozenset()
    config: str = ""
    unschedulable: bool = False
    crash: str = ""
    crashed_at: float | None = None
    restarts: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """What the Deployment's controller says of it; all zero if there is none.

    Args:
        observed: The controller has seen the Deployment as it is now: only then the rest is about it.
        wanted: Pods it should have, whoever says so (spec, or an autoscaler).
        replicas: Pods it has, of any template.
        updated: Pods it has, of its template.
        ready: Pods it has that are ready, of any template.
        problem: Why it can't make pods.
        overdue: Its own words when it has made no progress for too long; ``""`` if that isn't so.
        paused: It makes no change, because somebody has paused it.
        image: Of the model server.
        accelerator: What each pod asks for, as in ``1 nvidia.com/gpu``; ``""`` if nothing.
    """

    observed: bool = False
    wanted: int = 0
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    problem: conditions.Finding | None = None
    overdue: str = ""
    paused: bool = False
    image: str = ""
    accelerator: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Rollout:
    """What a rollout says of itself, and of the versions it has to do with.

    Args:
        finding: Why not all is as spec asks; None: nothing in the rollout is to blame.
        says: The members of status that are its own.
        serves: Clients are to reach the model by its name: there is an entry in the config.
        labels: Versions by the label that clients may use for them, as published.
    """

    finding: conditions.Finding | None = None
    says: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    serves: bool = True
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """One server, whosever models it serves.

    Args:
        config_problem: Why the objects can't be as spec asks.
        config_hash: Of the config that was published.
        pods: Without those that are terminating, by name.
    """

    config_hash: str = ""
    config_problem: conditions.Finding | None = None
    deployment: DeploymentFacts = DeploymentFacts()
    pods: tuple[PodFacts, ...] = ()

    @property
    def reports(self) -> tuple[tuple[str, AgentState], ...]:
        """Pod name and state of every agent that answered."""
        return tuple((pod.name, pod.agent) for pod in self.pods if pod.agent is not None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts(ServerFacts):
    """One TFModel and its server."""

    model: spec.TFModel
    rollout: Rollout = Rollout()
