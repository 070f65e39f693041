"""What passes read from and write to, and what they need not do again."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable
from typing import Any

from tfmodel_operator.api import facts, spec
from tfmodel_operator.api.conditions import Finding
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.store import Body, Children, Store
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.plan.platform import Platform
from tfmodel_operator.plan.progress import Progress


@dataclasses.dataclass(frozen=True, slots=True)
class Desired:
    """What follows from a spec, once it has been brought about; its objects are not kept.

    Args:
        progress: Of the rollout.
        config_hash: Of the published config.
        touches: Pods whose agent has another one are to be told.
        template_hash: Of the template that spec asks for.
        again_in_seconds: When time alone will change the plan; None: never.
        pods: Those the objects were made from; None: they depend on none.
        said: What was known of the pods when the step was made.
        problem: Why it could not be brought about, if that is for somebody else to mend.
    """

    model: spec.TFModel
    progress: Progress
    config_hash: str
    touches: bool
    template_hash: str
    again_in_seconds: float | None
    pods: tuple[Body, ...] | None
    said: tuple[facts.PodFacts, ...]
    problem: Finding | None

    def follows_from(self, children: Children) -> bool:
        """Tell whether the objects would be the same with these pods."""
        return self.pods is None or self.pods == children.pods


@dataclasses.dataclass(slots=True)
class Memory:
    """What a pass need not do again because nothing it depends on has changed; forgetting it costs time, and nothing else.

    Args:
        edition: Of the store, at which ``desired`` was brought about.
        until: Monotonic seconds, until which that holds good.
        judged: Facts and stored status from which no other status followed.
        written: Monotonic seconds of the last write of status; at first, of the first pass.
        kept: A status that was written and what the API server made of it, if that is something else.
    """

    written: float
    edition: int = 0
    until: float = 0.0
    desired: Desired | None = None
    judged: tuple[facts.Facts, Any] | None = None
    kept: tuple[Any, Any] | None = None

    def holds(self, edition: int, now: float) -> bool:
        """Tell whether ``desired`` is still what follows, as far as time and the store's edition tell."""
        return self.edition == edition and now < self.until


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Everything a pass reads from and writes to.

    Args:
        platform: This operator, as far as it shows in what it makes.
        busy: Tells whether other TFModels wait.
    """

    store: Store
    client: ApiClient
    applier: Applier
    agents: Agents
    recorder: Recorder
    platform: Platform
    busy: Callable[[], bool]
    memories: dict[Key, Memory] = dataclasses.field(default_factory=dict)

    def memory(self, key: Key) -> Memory:
        return self.memories.get(key) or self.memories.setdefault(key, Memory(written=time.monotonic()))

    def forget(self, key: Key) -> None:
        """Let go of all that is remembered of a TFModel that is gone."""
        self.agents.follow(key, ())
        self.applier.forget(key)
        self.memories.pop(key, None)

    def now(self) -> str:
        """Return the time as Kubernetes writes it."""
        return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
