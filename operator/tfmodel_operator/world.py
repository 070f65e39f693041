"""What passes read from and write to, and what they need not do again."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfmodel_operator.api import facts, spec
from tfmodel_operator.api.conditions import Finding
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.store import Body, Children, Store
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.plan import configmap, join
from tfmodel_operator.plan.platform import Platform
from tfmodel_operator.plan.progress import Progress

CONFIGS = 8
"""Configs of a shared server that are remembered: agents are behind by one or two."""


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


Pods = Mapping[str, tuple[facts.PodFacts, ...]]
"""The pods of a shared server by name of the TFModel; their agents say of that one model only."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SharedDesired:
    """What follows from a TFModelServer and the models that ask to be on it, once it has been brought about.

    Args:
        asking, sizes: What it was made from.
        pods: Those the plan was made from; None: it depends on none.
        absent: Claims that don't exist.
        steps: How far the rollout of each member is, by name of the TFModel.
        said: What they were made from.
        config_bytes: Of what is published.
        again_in_seconds, problem: As for :class:`Desired`.
    """

    server: spec.ModelServer
    asking: tuple[spec.TFModel, ...]
    sizes: Mapping[str, int]
    pods: tuple[Body, ...] | None
    joined: join.Joined
    absent: frozenset[str]
    steps: Mapping[str, Progress]
    said: Pods
    config_hash: str
    config_bytes: int
    again_in_seconds: float | None
    problem: Finding | None

    def holds(self, asking: tuple[spec.TFModel, ...], sizes: Mapping[str, int], pods: tuple[Body, ...]) -> bool:
        """Tell whether the plan would be the same with these."""
        return self.asking == asking and self.sizes == sizes and self.pods in (None, pods)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A shared server, as its models judge by it.

    Args:
        members: Who is in its config, by name of the TFModel.
        refused: Who can't be, and why.
        seen: The server as a whole.
        steps: How far the rollout of each member is.
    """

    server: spec.ModelServer
    members: Mapping[str, spec.TFModel]
    refused: Mapping[str, Finding]
    seen: facts.ServerFacts
    pods: Pods
    steps: Mapping[str, Progress]

    def about(self, name: str) -> tuple[Any, ...]:
        """Return all that one TFModel judges by, apart from the server as a whole."""
        return self.members.get(name), self.refused.get(name), self.pods.get(name), self.steps.get(name)


@dataclasses.dataclass(slots=True)
class Memory:
    """What a pass need not do again because nothing it depends on has changed; forgetting it costs time, and nothing else.

    Args:
        edition: Of the store, at which ``desired`` was brought about.
        until: Monotonic seconds, until which that holds good.
        judged: Facts and stored status from which no other status followed.
        written: Monotonic seconds of the last write of status; at first, of the first pass.
        told: Monotonic seconds, at which a pod was last told that it has a new config.
        news_since: Monotonic seconds, since when status would say something else than it does; None: it says all.
        kept: A status that was written and what the API server made of it, if that is something else.
        answering: Of a model that moves: where to, and since when (monotonic seconds) all pods there have answered.
        configs: Of a shared server: what each model had in the configs that were published last, by their hash.
    """

    written: float
    edition: int = 0
    until: float = 0.0
    desired: Desired | None = None
    shared: SharedDesired | None = None
    configs: dict[str, Mapping[str, configmap.Share]] = dataclasses.field(default_factory=dict)
    judged: tuple[facts.Facts, Any] | None = None
    kept: tuple[Any, Any] | None = None
    told: float = float("-inf")
    answering: tuple[str, float] | None = None
    news_since: float | None = None

    def holds(self, edition: int, now: float) -> bool:
        """Tell whether ``desired`` is still what follows, as far as time and the store's edition tell."""
        return self.edition == edition and now < self.until

    def answering_seconds(self, target: str, is_so: bool, now: float) -> float | None:
        """Return for how long all pods of a server have answered for this model, as far as is remembered; None: they don't."""
        if not is_so:
            self.answering = None
            return None
        if self.answering is None or self.answering[0] != target:
            self.answering = target, now
        return now - self.answering[1]

    def remember_config(self, config_hash: str, shares: Mapping[str, configmap.Share]) -> None:
        """Note what a hash stands for."""
        self.configs.pop(config_hash, None)
        self.configs[config_hash] = shares
        for oldest in list(self.configs)[:-CONFIGS]:
            del self.configs[oldest]

    def configs_with(self, name: str, published: str) -> set[str]:
        """Return the hashes of configs that have the TFModel of this name, with the files that it has in the published one."""
        wanted = _base_paths(self.configs.get(published, {}).get(name))
        return {config_hash for config_hash, shares in self.configs.items() if wanted & _base_paths(shares.get(name))}

    def knows_config(self, published: str) -> Callable[[str, str], bool]:
        """Return what tells whether a model has in the config of a hash what it has in the published one, as far as is known."""
        now = self.configs.get(published, {})

        def knows(config_hash: str, name: str) -> bool:
            if config_hash == published:
                return True
            former = self.configs.get(config_hash, {}).get(name)
            return former is not None and former == now.get(name)

        return knows


def _base_paths(share: configmap.Share | None) -> set[str]:
    return {entry.base_path for entry in share.entries} if share is not None else set()


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Everything a pass reads from and writes to.

    Args:
        platform: This operator, as far as it shows in what it makes.
        busy: Tells whether other TFModels wait.
        tell: Has a key looked at.
        shared: What the last pass over each shared server found, for its models to judge by.
        invalid: Why the spec of a shared server can't be acted on.
        knows: Tells whether all that exists in a namespace is known.
    """

    store: Store
    client: ApiClient
    applier: Applier
    agents: Agents
    recorder: Recorder
    platform: Platform
    busy: Callable[[], bool]
    tell: Callable[[Key], None] = lambda key: None
    knows: Callable[[str], bool] = lambda namespace: True
    shared: dict[Key, Shared] = dataclasses.field(default_factory=dict)
    invalid: dict[Key, Finding] = dataclasses.field(default_factory=dict)
    memories: dict[Key, Memory] = dataclasses.field(default_factory=dict)

    def memory(self, key: Key) -> Memory:
        return self.memories.get(key) or self.memories.setdefault(key, Memory(written=time.monotonic()))

    def forget(self, key: Key) -> None:
        """Let go of all that is remembered of a TFModel that is gone."""
        self.agents.follow(key, ())
        self.applier.forget(key)
        self.memories.pop(key, None)
        self.shared.pop(key, None)
        self.invalid.pop(key, None)

    def now(self) -> datetime.datetime:
        """Return the time."""
        return datetime.datetime.now(datetime.UTC)

    def timestamp(self) -> str:
        """Return the time as Kubernetes writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
