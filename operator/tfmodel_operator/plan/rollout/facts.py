"""What the planner is told: what the user wants, what is published, and what the pods say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tfmodel_operator.api import rollout_spec
from tfmodel_operator.plan.rollout import config
from tfmodel_serving import model_config, state


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """What a server's process may take, for `strategy: Auto`.

    Args:
        limit_bytes: The container's memory limit, or None.
        accelerator: The extended resource each pod asks for; ``""``: none.
        fraction: `accelerator.memoryFraction`, or None.
        recreate: `updateStrategy` lets pods stop before new ones start.
    """

    limit_bytes: int | None = None
    accelerator: str = ""
    fraction: float | None = None
    recreate: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Desired:
    """What the user wants of one model.

    Args:
        model: Its name on the model server.
        labels: Label to version, or None: `stable` is kept on the promoted version.
        retry: Text of the annotation :data:`rollout_spec.RETRY`; ``""`` if there is none.
    """

    model: str
    policy: model_config.VersionPolicy
    labels: Mapping[str, int] | None = None
    rollout: rollout_spec.Rollout = dataclasses.field(default_factory=rollout_spec.Rollout)
    retry: str = ""
    memory: Memory = Memory()


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """The config that pods start with now: that of the ConfigMap which the live Deployment's template mounts.

    Args:
        hash: What agents report once they have read it.
        immutable: The ConfigMap is one of its own for this content; another content needs other pods.
    """

    config: config.Config
    hash: str
    immutable: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """The live Deployment.

    Args:
        template: Names the pod template it has, whichever config that mounts.
        desired_template: Names the one that spec asks for.
        problem: Why pods of its template can't start, in the scheduler's or the kubelet's words.
        unschedulable: There is no room for one of them: time alone is no verdict on a version then.
    """

    replicas: int
    template: str
    desired_template: str
    problem: str = ""
    unschedulable: bool = False

    @property
    def as_desired(self) -> bool:
        return self.template == self.desired_template


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """One pod of the Deployment that is not on its way out.

    Args:
        ready: The kubelet says so: clients are sent to it.
        current: It is of the template that the Deployment has now, mounted config included.
        report: The last word of its agent, or None.
        crash: Why its model server keeps ending, in the kubelet's words; ``""`` unless it crashes again and again.
        crashed_at: When the server last ended by itself, in Unix seconds.
        apart: It has another ConfigMap mounted than the published one, and never sees what changes there.
    """

    name: str
    ready: bool = False
    current: bool = True
    report: state.AgentState | None = None
    crash: str = ""
    crashed_at: float | None = None
    apart: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is so.

    Args:
        published: None: there is no ConfigMap.
        record: Text of the record (:mod:`record`); ``""`` if there is none.
        server: None: there is no Deployment.
    """

    published: Published | None = None
    record: str = ""
    server: Server | None = None
    pods: tuple[Pod, ...] = ()
