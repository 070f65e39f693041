"""The cluster around the pods: ConfigMaps, the Deployment and its controller, time, and the operator's passes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

from tests.modelserver.manager import TICK_SECONDS
from tests.unit.operator.rollout.simulation.pod import ConfigMap, Pod
from tests.unit.operator.rollout.simulation.volume import Mount, Volume
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import facts, planner, record
from tfmodel_operator.plan.rollout.step import Pods, Step

MODEL = "half"
IN_PLACE = "half-models"
START = 1_800_000_000.0
TERMINATION_SECONDS = 0.5


class Killed(Exception):
    """The operator was killed between two of its writes."""


@dataclasses.dataclass
class Deployment:
    """What the controller acts on."""

    template: tuple[str, str]
    replicas: int
    recreate: bool = False


class Cluster:
    """Everything there is; change the attributes in capitals' place at any time, then :meth:`run`.

    Args:
        desired: What the user wants.
        spec_template: The pod template that spec asks for.
        slots: How many pods find an accelerator; None: any number.
    """

    def __init__(self, desired: facts.Desired, replicas: int = 2, slots: int | None = None) -> None:
        self.now = START
        self.desired, self.spec_template, self.replicas, self.slots = desired, "image-1", replicas, slots
        self.volume = Volume()
        self.lags: list[float] = [0.0]
        self.delays: list[float] = [0.1]
        self.maps: dict[str, ConfigMap] = {}
        self.record = ""
        self.deployment: Deployment | None = None
        self.pods: list[Pod] = []
        self.step: Step | None = None
        self.operator = True
        self.kill_after: int | None = None
        self.on_publish: Callable[[configs.Config, configs.Config, bool], None] = lambda *_: None
        self.on_step: Callable[[Step], None] = lambda _: None
        self._made = 0
        self._asked: object = None
        self._leaving: list[tuple[float, Pod]] = []
        self._writes = 0

    # Time.

    def run(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        for _ in range(round(seconds / TICK_SECONDS)):
            self.tick()
            check()

    def run_until(self, condition: Callable[[], bool], seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """Let time pass until ``condition`` holds; it must within ``seconds``."""
        until = self.now + seconds
        while not condition():
            assert self.now < until, f"not within {seconds} s: {self.step}"
            self.run(TICK_SECONDS, check)

    def tick(self) -> None:
        self.now = round(self.now + TICK_SECONDS, 3)
        for pod in self.pods:
            pod.tick()
        self._control()
        if self.operator:
            self.operate()

    # The operator.

    def _published(self) -> facts.Published | None:
        found = self.maps.get(self.deployment.template[1] if self.deployment else IN_PLACE)
        return facts.Published(found.config, found.hash, found.immutable) if found else None

    def facts(self) -> facts.Facts:
        server = None
        if self.deployment:
            pending = any(pod.pending for pod in self.pods)
            server = facts.Server(
                self.deployment.replicas, self.deployment.template[0], self.spec_template,
                "0/3 nodes are available: 3 Insufficient nvidia.com/gpu" if pending else "", pending,
            )  # fmt: skip
        return facts.Facts(
            published=self._published(),
            record=self.record,
            server=server,
            pods=tuple(pod.facts(self.deployment.template if self.deployment else None) for pod in self.pods),
        )

    def operate(self) -> None:
        """One pass: plan, and write what differs; a kill leaves the rest undone."""
        found = self.facts()
        asked = (found, self.desired, self.spec_template, self.replicas)
        due = self.step is not None and self.step.deadline is not None and self.step.deadline <= self.now
        if asked == self._asked and not due:
            return  # the same facts give the same step, which is done
        self._writes = 0
        step = self.step = planner.plan_rollout(self.desired, found, self.now)
        self._asked = asked
        self.on_step(step)
        before = found.published
        try:
            self._apply(step)
        except Killed:
            self.kill_after, self._asked = None, None
        after = self._published()
        if after and (before is None or before.config != after.config):
            other_pods = after.immutable or bool(before and before.immutable)
            self.on_publish(before.config if before else configs.Config(), after.config, other_pods)

    def _apply(self, step: Step) -> None:
        if step.config is None:
            return
        text = record.to_text(step.record)
        made = ConfigMap(step.config, content_hash(step.config), step.template.immutable)
        name = f"{IN_PLACE}-{made.hash}" if made.immutable else IN_PLACE
        if self.maps.get(name) != made or self.record != text:
            changed = self.maps.get(name) != made
            if made.immutable and self.record != text:
                self._write()
                self.record = text  # on another object: the record is written first
            self._write()
            self.record, self.maps[name] = text, made
            if changed and not made.immutable:
                self._bring(made)
        self._apply_deployment(step, name)

    def _apply_deployment(self, step: Step, name: str) -> None:
        live = self.deployment
        spec = live.template[0] if live and step.template.pods is Pods.LIVE else self.spec_template
        wanted = Deployment((spec, name), self.replicas, step.template.recreate)
        if live != wanted:
            self._write()
            self.deployment = wanted

    def _write(self) -> None:
        if self.kill_after is not None and self._writes >= self.kill_after:
            raise Killed
        self._writes += 1

    def _bring(self, what: ConfigMap) -> None:
        for index, pod in enumerate(self.pods):
            if pod.template[1] == IN_PLACE:
                pod.deliver(what, self.now + self.delays[index % len(self.delays)])

    # The Deployment's controller.

    def _control(self) -> None:
        self._leaving = [(at, pod) for at, pod in self._leaving if at > self.now]
        if self.deployment is None:
            return
        replicas, template = self.deployment.replicas, self.deployment.template
        old = [pod for pod in self.pods if pod.template != template]
        new = [pod for pod in self.pods if pod.template == template]
        for pod in new[replicas:]:
            self.remove(pod)
        new = new[:replicas]
        if self.deployment.recreate and (old or (self._leaving and not new)):
            for pod in old:
                self.remove(pod)
            return
        ready = sum(pod.ready for pod in new)
        for pod in sorted(old, key=lambda pod: pod.ready)[: max(0, len(old) - max(0, replicas - ready))]:
            self.remove(pod)
            old.remove(pod)
        if len(new) < replicas and len(old) + len(new) < replicas + 1:
            self._make(template)
        self._schedule()

    def _make(self, template: tuple[str, str]) -> None:
        self._made += 1
        mount = Mount(self.volume, self.lags[self._made % len(self.lags)])
        pod = Pod(f"pod-{self._made}", template, MODEL, mount, lambda: self.now)
        pod.pending = self.slots is not None
        if template[1] in self.maps:
            pod.deliver(self.maps[template[1]], self.now)
        self.pods.append(pod)

    def _schedule(self) -> None:
        if self.slots is None:
            return
        taken = sum(not pod.pending for pod in self.pods) + len(self._leaving)
        for pod in [pod for pod in self.pods if pod.pending][: max(0, self.slots - taken)]:
            pod.pending = False
            pod.server_at = pod.agent_at = self.now + 0.6

    def remove(self, pod: Pod) -> None:
        """The pod is deleted: clients are sent to it no more."""
        self.pods.remove(pod)
        if not pod.pending:
            self._leaving.append((self.now + TERMINATION_SECONDS, pod))


def content_hash(config: configs.Config) -> str:
    return hashlib.sha256(repr(config).encode()).hexdigest()[:8]
