"""A cluster to which things happen one after the other, and the trace of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tests.unit.operator.rollout.simulation.cluster import MODEL, START, Cluster
from tests.unit.operator.rollout.simulation.invariants import Watch
from tests.unit.operator.rollout.simulation.pod import Pod
from tests.unit.operator.rollout.simulation.volume import Files
from tfmodel_operator.api.rollout_spec import Rollout, Strategy
from tfmodel_operator.plan.rollout import facts, narrate
from tfmodel_operator.plan.rollout.step import Pods, Step
from tfmodel_serving.model_config import Latest


class Play:
    """A cluster to which things happen, and the trace of it."""

    def __init__(self, **rollout: Any) -> None:
        desired = facts.Desired(MODEL, Latest(1), rollout=Rollout(strategy=Strategy.IN_PLACE))
        self.cluster = Cluster(desired)
        self.lines: list[str] = []
        self._contents = 0
        self._steps = 0
        self._last: tuple[object, ...] = ()
        self.watch = Watch(self.cluster)
        self.cluster.on_step = self._step

    # What happens.

    def put(self, version: int, say: str = "", **given: Any) -> None:
        self._contents += 1
        self._note(f"version {version} is on the volume{', ' + say if say else ''}")
        self.cluster.volume.put(version, Files(self._contents, **given), self.cluster.now)

    def remove(self, version: int) -> None:
        self._note(f"version {version} is deleted from the volume")
        self.cluster.volume.remove(version, self.cluster.now)

    def edit(self, say: str, **changes: Any) -> None:
        self._note(say)
        self.cluster.desired = dataclasses.replace(self.cluster.desired, **changes)

    def rollout(self, say: str, **changes: Any) -> None:
        self.edit(say, rollout=dataclasses.replace(self.cluster.desired.rollout, **changes))

    def happens(self, say: str, what: Callable[[], object]) -> None:
        self._note(say)
        what()

    @property
    def pod(self) -> Pod:
        return self.cluster.pods[0]

    def run(self, seconds: float) -> None:
        self.cluster.run(seconds, self.watch.check)

    def until(self, phase: str, then: float = 0.0) -> None:
        """Let time pass until the rollout is in that phase, and a little longer."""
        self.cluster.run_until(lambda: self.cluster.step is not None and self.cluster.step.phase == phase, 30.0, self.watch.check)
        self.run(then)

    def settle(self, seconds: float = 60.0) -> None:
        """Let time pass until nothing has changed for a while, and write down how things are then."""
        quiet, before = 0.0, self.watch.publications
        until = self.cluster.now + seconds
        while quiet < 4.0 and self.cluster.now < until:
            self.run(0.5)
            step = self.cluster.step
            assert step is not None
            pods = all(pod.ready and pod.template == self.cluster.deployment.template for pod in self.cluster.pods)
            moving = self.watch.publications != before or step.deadline is not None or not pods
            quiet, before = 0.0 if moving else quiet + 0.5, self.watch.publications
        self._state()

    # What is written down.

    def _note(self, text: str) -> None:
        self.lines.append(f"{self._at()}  -- {text}")

    def _at(self) -> str:
        return f"{self.cluster.now - START:6.1f}"

    def _step(self, step: Step) -> None:
        self.watch.stepped(step)
        what = (step.config, step.template, step.phase)
        if what != self._last:
            self._last, self._steps = what, self._steps + 1
            self.lines.append(f"{self._at()}  step {self._steps}: {step.phase}: {step.reason}{_by(step)}")

    def _state(self) -> None:
        step = self.cluster.step
        assert step is not None
        said = narrate.status(step, self.cluster.facts(), MODEL)
        serving = ", ".join(f"{pod.name} {_set(pod.serves(MODEL))}" for pod in self.cluster.pods) or "no pods"
        names = f"promoted {said.get('promotedVersion', '-')}, candidate {said.get('candidateVersion', '-')}"
        self.lines.append(f"{self._at()}  status: {names}, {step.phase}: {said['rollout']['step']}")
        self.lines.append(f"        served: {step.config}; {serving}")


def _by(step: Step) -> str:
    parts = ["pods as they are"] if step.template.pods is Pods.LIVE and step.template.immutable else []
    parts += ["by a ConfigMap of its own"] if step.template.immutable else []
    parts += ["recreated"] if step.template.recreate else []
    return f" [{', '.join(parts)}]" if parts else ""


def _set(versions: Any) -> str:
    return "{" + ", ".join(str(version) for version in sorted(versions)) + "}"


def play(scenario: Callable[[Play], None]) -> str:
    """Return the trace of ``scenario``."""
    played = Play()
    scenario(played)
    return "\n".join([f"# {scenario.__doc__}", *played.lines]) + "\n"


def serving_one(p: Play) -> None:
    p.put(1)
    p.settle()
