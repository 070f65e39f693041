"""What can happen in a rollout, told as a story: the docstring is its heading, the trace what the operator did and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tests.unit.operator.rollout.simulation.cluster import MODEL, START, Cluster
from tests.unit.operator.rollout.simulation.invariants import Watch
from tests.unit.operator.rollout.simulation.pod import Pod
from tests.unit.operator.rollout.simulation.volume import Files
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, OnFailure, Rollout, Strategy
from tfmodel_operator.plan.rollout import facts, narrate
from tfmodel_operator.plan.rollout.step import Pods, Step
from tfmodel_serving.model_config import All, Latest, Specific

GIB = 1 << 30


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


def _serving_one(p: Play) -> None:
    p.put(1)
    p.settle()


# The first version.


def first_latest(p: Play) -> None:
    """The first version under latest: the agents choose it, and the operator pins what serves."""
    p.put(1)
    p.settle()


def first_specific(p: Play) -> None:
    """The first versions, named by number; one of them is not there yet."""
    p.edit("versionPolicy: specific [1, 2]", policy=Specific((1, 2)))
    p.put(1)
    p.settle()
    p.put(2)
    p.settle()


def first_is_broken(p: Play) -> None:
    """The first version can't be loaded; a second one can."""
    p.put(1, "which the server can't load", sound=False)
    p.settle()
    p.put(2)
    p.settle()


def first_needs_approval(p: Play) -> None:
    """The first version, with approval: Manual: it is served to nobody until a person says so."""
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(1)
    p.settle()
    p.rollout("approvedVersion: 1", approved_version=1)
    p.settle()


def first_while_paused(p: Play) -> None:
    """A new model whose rollout is paused serves nothing until it goes on."""
    p.rollout("paused: true", paused=True)
    p.put(1)
    p.settle()
    p.rollout("paused: false", paused=False)
    p.settle()


# A good version.


def drop_good(p: Play) -> None:
    """A good version is dropped on the volume, under latest."""
    _serving_one(p)
    p.put(2)
    p.settle()


def edit_good(p: Play) -> None:
    """A good version is asked for in Git."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.settle()


def slow_mount(p: Play) -> None:
    """One pod sees the new version later than the other, which waits for it."""
    p.cluster.lags = [3.0, 0.0]
    _serving_one(p)
    p.put(2)
    p.settle()


def slow_kubelet(p: Play) -> None:
    """One pod gets every config two seconds later than the other."""
    p.cluster.delays = [0.1, 2.0]
    _serving_one(p)
    p.put(2)
    p.settle()


def three_at_once(p: Play) -> None:
    """Three versions are dropped at once: only the newest one is rolled out."""
    _serving_one(p)
    for version in (2, 3, 4):
        p.put(version)
    p.settle()


def three_at_once_newest_broken(p: Play) -> None:
    """Three versions are dropped at once, and the newest can't be loaded: the one below it is next."""
    _serving_one(p)
    p.put(2)
    p.put(3)
    p.put(4, "which the server can't load", sound=False)
    p.settle()


def newer_one_overtakes(p: Play) -> None:
    """A newer version comes while one waits for approval: it takes its place, and the approval of the old one is worth nothing."""
    _serving_one(p)
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(2)
    p.settle()
    p.put(3)
    p.settle()
    p.rollout("approvedVersion: 2", approved_version=2)
    p.settle()
    p.rollout("approvedVersion: 3", approved_version=3)
    p.settle()


def half_copied(p: Play) -> None:
    """A version appears file by file: nothing happens until it is complete."""
    _serving_one(p)
    p.put(2, "half copied", complete=False)
    p.settle()
    p.put(2, "complete")
    p.settle()


# A bad version.


def fails_to_load(p: Play) -> None:
    """A version that can't be loaded is taken out, and not tried again."""
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()


def repaired(p: Play) -> None:
    """The files of a quarantined version change: it is tried again."""
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()
    p.put(2, "repaired")
    p.settle()


def retried(p: Play) -> None:
    """A quarantined version is tried again when somebody asks: once for each time it is asked."""
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()
    p.edit('annotation retry: "2"', retry="2")
    p.settle()
    p.edit('annotation retry: "2 again"', retry="2 again")
    p.settle()


def deleted_mid_load(p: Play) -> None:
    """The new version is deleted from the volume while it is being loaded."""
    _serving_one(p)
    p.put(2, load_seconds=3.0)
    p.until("Growing", 1.0)
    p.remove(2)
    p.settle()


def too_slow(p: Play) -> None:
    """A version takes longer to load than progressDeadlineSeconds."""
    p.rollout("progressDeadlineSeconds: 10", progress_deadline_seconds=10)
    _serving_one(p)
    p.put(2, "which takes a minute to load", load_seconds=60.0)
    p.settle()


def fails_on_one_pod(p: Play) -> None:
    """The files on one pod's mount are older than on the other's: what it sees there can't be loaded."""
    p.cluster.lags = [6.0, 0.0]
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.run(1.0)
    p.put(2, "repaired")
    p.run(12.0)
    p.settle()


def crashes_when_loaded(p: Play) -> None:
    """The model server dies of the new version: it is taken out when the kubelet says CrashLoopBackOff."""
    _serving_one(p)
    p.put(2, "of which the server dies", deadly="load")
    p.settle()


def held(p: Play) -> None:
    """onFailure: Hold: a version whose answers differ stays loaded under its private name, until another one comes."""
    _serving_one(p)
    p.rollout(
        "onFailure: Hold, comparison: Require",
        on_failure=OnFailure.HOLD,
        comparison=Comparison(ComparisonPolicy.REQUIRE),
    )
    p.put(2, "which answers differently", difference=0.25)
    p.settle()
    p.put(3)
    p.settle()


# What has to be passed after loading.


def compared_equal(p: Play) -> None:
    """comparison: Require, and the answers are the same: alone first, then beside the old one."""
    _serving_one(p)
    p.rollout("comparison: Require", comparison=Comparison(ComparisonPolicy.REQUIRE))
    p.put(2)
    p.settle()


def compared_different(p: Play) -> None:
    """comparison: Require, and the answers differ: no client ever gets them."""
    _serving_one(p)
    p.rollout("comparison: Require", comparison=Comparison(ComparisonPolicy.REQUIRE))
    p.put(2, "which answers differently", difference=0.25)
    p.settle()


def compared_reported(p: Play) -> None:
    """comparison: Report, and the answers differ: it is said, and goes on."""
    _serving_one(p)
    p.rollout("comparison: Report", comparison=Comparison(ComparisonPolicy.REPORT))
    p.put(2, "which answers differently", difference=0.25)
    p.settle()


def approved(p: Play) -> None:
    """approval: Manual: the candidate is loaded alone and waits."""
    _serving_one(p)
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(2)
    p.settle()
    p.rollout("approvedVersion: 2", approved_version=2)
    p.settle()


def approval_withdrawn(p: Play) -> None:
    """An approval is taken back while the version is loading on all pods."""
    _serving_one(p)
    p.rollout("approval: Manual, approvedVersion: 2", approval=Approval.MANUAL, approved_version=2)
    p.put(2, load_seconds=2.0)
    p.until("Growing")
    p.run(0.5)
    p.rollout("approvedVersion: null", approved_version=None)
    p.settle()


# Pause, undo.


def paused(p: Play) -> None:
    """A rollout is paused while the version loads on all pods, and goes on."""
    _serving_one(p)
    p.put(2)
    p.until("Growing")
    p.rollout("paused: true", paused=True)
    p.settle()
    p.rollout("paused: false", paused=False)
    p.settle()


def undone_mid_rollout(p: Play) -> None:
    """Git goes back to the old version while the new one is loading."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2, load_seconds=2.0)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(1.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def undone_mid_rollout_while_paused(p: Play) -> None:
    """The ways back stay open while paused."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(0.5)
    p.rollout("paused: true", paused=True)
    p.run(3.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def undone_later(p: Play) -> None:
    """Git goes back after the new version was promoted: the old one is loaded again, and then the new one goes."""
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def undone_while_baking(p: Play) -> None:
    """Git goes back within bakeSeconds: the old version is still loaded."""
    p.rollout("bakeSeconds: 60", bake_seconds=60)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(6.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


# After promotion.


def baked(p: Play) -> None:
    """bakeSeconds: the old version stays loaded for a while; a version that comes meanwhile waits."""
    p.rollout("bakeSeconds: 15", bake_seconds=15)
    _serving_one(p)
    p.put(2)
    p.run(8.0)
    p.put(3)
    p.settle()


def crashes_while_baking(p: Play) -> None:
    """The model server dies of what clients send to the new version, within bakeSeconds: it is taken back."""
    p.rollout("bakeSeconds: 120", bake_seconds=120)
    _serving_one(p)
    p.put(2, "of which the server dies under traffic", deadly="traffic")
    p.settle(90.0)


def crashes_later(p: Play) -> None:
    """The same without bakeSeconds: there is no way back of itself, and a fix is not held up by the crashes."""
    _serving_one(p)
    p.put(2, "of which the server dies under traffic", deadly="traffic")
    p.settle(40.0)
    p.put(3, "a fix")
    p.settle(90.0)


# Several versions.


def all_with_one_broken(p: Play) -> None:
    """`all`, and one of three can't be loaded."""
    p.edit("versionPolicy: all", policy=All())
    _serving_one(p)
    p.put(2)
    p.put(3, "which the server can't load", sound=False)
    p.put(4)
    p.settle()


def latest_two(p: Play) -> None:
    """`latest` 2: the oldest goes when the newest is promoted, not before."""
    p.edit("versionPolicy: latest 2", policy=Latest(2))
    p.put(1)
    p.put(2)
    p.settle()
    p.put(3)
    p.settle()
    p.edit("versionPolicy: latest 1", policy=Latest(1))
    p.settle()


def specific_swap(p: Play) -> None:
    """Two versions named by number are replaced by two others, one after the other."""
    p.edit("versionPolicy: specific [1, 2]", policy=Specific((1, 2)))
    for version in (1, 2, 3, 4):
        p.put(version)
    p.settle()
    p.edit("versionPolicy: specific [3, 4]", policy=Specific((3, 4)))
    p.settle()


def not_there(p: Play) -> None:
    """Git asks for a version that isn't on the volume: what serves goes on."""
    _serving_one(p)
    p.edit("versionPolicy: specific [7]", policy=Specific((7,)))
    p.settle()


def vanishes(p: Play) -> None:
    """The promoted version is deleted from the volume: it is kept while it serves; a pod that needs it falls back."""
    p.put(1)
    p.put(2)
    p.settle()
    p.remove(2)
    p.settle()
    p.happens("pod-1 is deleted", lambda: p.cluster.remove(p.pod))
    p.settle()


def volume_emptied(p: Play) -> None:
    """The volume is emptied: nothing is unloaded."""
    _serving_one(p)
    p.remove(1)
    p.settle()


# Labels.


def labels_move(p: Play) -> None:
    """The user's labels: `next` is set once its version is promoted."""
    p.edit("versionPolicy: specific [1], versionLabels {stable: 1}", policy=Specific((1,)), labels={"stable": 1})
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [1, 2], versionLabels {stable: 1, next: 2}", policy=Specific((1, 2)), labels={"stable": 1, "next": 2})
    p.settle()


def labels_swap(p: Play) -> None:
    """Two labels change places, in one push."""
    p.edit("specific [1, 2], versionLabels {a: 1, b: 2}", policy=Specific((1, 2)), labels={"a": 1, "b": 2})
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionLabels {a: 2, b: 1}", labels={"a": 2, "b": 1})
    p.settle()


def label_without_version(p: Play) -> None:
    """A label is moved to a version that isn't served: it stays where it is."""
    p.edit("versionLabels {stable: 1}", labels={"stable": 1})
    _serving_one(p)
    p.edit("versionLabels {stable: 9}", labels={"stable": 9})
    p.settle()


def label_keeps_the_old(p: Play) -> None:
    """A label names the old version: it stays loaded beside the new one."""
    p.edit("versionLabels {stable: 1}", labels={"stable": 1})
    _serving_one(p)
    p.put(2)
    p.settle()
    p.edit("versionLabels {stable: 2}", labels={"stable": 2})
    p.settle()


# Pods come and go.


def scaled_mid_rollout(p: Play) -> None:
    """Replicas go from two to three while a version is loading."""
    _serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("replicas: 3", lambda: setattr(p.cluster, "replicas", 3))
    p.settle()


def scaled_to_zero(p: Play) -> None:
    """A version is dropped while there are no pods: nobody has verified it, so pods start with the old one."""
    _serving_one(p)
    p.happens("replicas: 0", lambda: setattr(p.cluster, "replicas", 0))
    p.run(2.0)
    p.put(2)
    p.settle()
    p.happens("replicas: 2", lambda: setattr(p.cluster, "replicas", 2))
    p.settle()


def pod_replaced_mid_rollout(p: Play) -> None:
    """A pod is deleted while a version is loading."""
    _serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("pod-1 is deleted", lambda: p.cluster.remove(p.pod))
    p.settle()


def server_restarts_mid_rollout(p: Play) -> None:
    """A model server ends by itself, once, while a version is loading."""
    _serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("the model server of pod-1 ends", p.pod.crash)
    p.settle()


def agent_restarts_mid_rollout(p: Play) -> None:
    """An agent forgets everything while a version is loading."""
    _serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("the agent of pod-1 restarts", p.pod.restart_agent)
    p.settle()


def agent_is_silent(p: Play) -> None:
    """The agent of a ready pod can't be reached for longer than the deadline: nothing moves, and no version is blamed."""
    p.rollout("progressDeadlineSeconds: 10", progress_deadline_seconds=10)
    _serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("pod-1 is not heard any more", lambda: setattr(p.pod, "muted_until", float("inf")))
    p.settle()
    p.happens("pod-1 is heard again", lambda: setattr(p.pod, "muted_until", 0.0))
    p.settle()


# The operator.


def operator_killed(p: Play) -> None:
    """The operator is killed between its two writes of a rolling update."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.cluster.kill_after = 1
    p.put(2)
    p.settle()


def record_lost_while_growing(p: Play) -> None:
    """The record is lost while a version is loading on all pods: the config says what is promoted, and the clock starts anew."""
    _serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def record_lost_while_baking(p: Play) -> None:
    """The record is lost while the old version is still loaded: the way back is shorter than it should be, and that is all."""
    p.rollout("bakeSeconds: 60", bake_seconds=60)
    _serving_one(p)
    p.put(2)
    p.run(6.0)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", "{"))
    p.settle()


def record_lost_while_replacing(p: Play) -> None:
    """The record is lost during a rolling update to a version that can't be loaded: what the old pods serve is what is promoted."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False, load_seconds=3.0)
    p.until("Replacing", 2.0)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def record_lost_while_replacing_a_good_one(p: Play) -> None:
    """The record is lost during a rolling update to a good version."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.put(2, load_seconds=3.0)
    p.until("Replacing", 5.0)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def record_lost_with_quarantine(p: Play) -> None:
    """The record of a quarantined version is lost: it is tried once more, and no client notices."""
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def config_lost(p: Play) -> None:
    """The ConfigMap is deleted, and the record with it: what the pods serve is what is promoted."""
    _serving_one(p)

    def lose() -> None:
        p.cluster.maps.clear()
        p.cluster.record = ""

    p.happens("the ConfigMap is deleted", lose)
    p.settle()


# Templates and strategies.


def template_and_version(p: Play) -> None:
    """Image and version change in one commit: the pods first, with the old version, then the version."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.settle()


def template_during_trial(p: Play) -> None:
    """The image changes while a candidate waits for approval: the trial makes way, and begins again."""
    _serving_one(p)
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(2)
    p.settle()
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.settle()


def rolling_update(p: Play) -> None:
    """strategy: RollingUpdate: new pods load the new version while the old ones serve."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.put(2)
    p.settle()


def rolling_update_fails(p: Play) -> None:
    """strategy: RollingUpdate, and the version can't be loaded: no old pod has gone."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()


def rolling_update_fails_later(p: Play) -> None:
    """strategy: RollingUpdate, and a later version can't be loaded: the pods that served stay, until its files are mended."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.put(2)
    p.settle()
    p.put(3, "which the server can't load", sound=False)
    p.settle()
    p.put(3, "mended")
    p.settle()


def rolling_update_with_template(p: Play) -> None:
    """strategy: RollingUpdate, image and version in one commit: both in one."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.settle()


def rolling_update_compared(p: Play) -> None:
    """strategy: RollingUpdate with comparison: Require: there is no model server that has both."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE, comparison=Comparison(ComparisonPolicy.REQUIRE))
    _serving_one(p)
    p.put(2)
    p.settle()


def rolling_update_undone(p: Play) -> None:
    """strategy: RollingUpdate, and Git goes back while pods are being replaced."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(3.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def recreate(p: Play) -> None:
    """strategy: Recreate: the old pods stop, then the new ones start; nothing serves in between."""
    p.rollout("strategy: Recreate", strategy=Strategy.RECREATE)
    _serving_one(p)
    p.put(2)
    p.settle()


def recreate_fails(p: Play) -> None:
    """strategy: Recreate, and the version can't be loaded: the old one comes back."""
    p.rollout("strategy: Recreate", strategy=Strategy.RECREATE)
    _serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()


def in_place_after_rolling_update(p: Play) -> None:
    """The strategy becomes InPlace after a rolling update: pods get a config that can be changed in place first."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    _serving_one(p)
    p.put(2)
    p.settle()
    p.rollout("strategy: InPlace", strategy=Strategy.IN_PLACE)
    p.put(3)
    p.settle()


def auto_in_place(p: Play) -> None:
    """strategy: Auto, and the memory limit holds both versions."""
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    p.edit("memory limit: 4Gi", memory=facts.Memory(limit_bytes=4 * GIB))
    p.put(1, size=GIB)
    p.settle()
    p.put(2, size=GIB)
    p.settle()


def auto_rolling_update(p: Play) -> None:
    """strategy: Auto, and the memory limit doesn't hold both versions."""
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    p.edit("memory limit: 3Gi", memory=facts.Memory(limit_bytes=3 * GIB))
    p.put(1, size=GIB)
    p.settle()
    p.put(2, size=GIB)
    p.settle()


def auto_waits_for_accelerator(p: Play) -> None:
    """strategy: Auto, one GPU, one replica, and no memory for two versions: the new pod waits until another GPU is free."""
    p.cluster.replicas = p.cluster.slots = 1
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    p.edit("accelerator: nvidia.com/mig-1g.10gb", memory=facts.Memory(accelerator="nvidia.com/mig-1g.10gb"))
    p.put(1, size=4 * GIB)
    p.settle()
    p.put(2, size=4 * GIB)
    p.settle()
    p.happens("a second GPU is free", lambda: setattr(p.cluster, "slots", 2))
    p.settle()


def auto_recreate(p: Play) -> None:
    """strategy: Auto, one GPU, one replica, no memory for two versions, and updateStrategy: Recreate."""
    p.cluster.replicas = p.cluster.slots = 1
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    memory = facts.Memory(accelerator="nvidia.com/mig-3g.16gb", fraction=0.45, recreate=True)
    p.edit("accelerator: nvidia.com/mig-3g.16gb, memoryFraction 0.45, updateStrategy: Recreate", memory=memory)
    p.put(1, size=2 * GIB)
    p.settle()
    p.put(2, size=3 * GIB)
    p.settle()


def unschedulable(p: Play) -> None:
    """strategy: RollingUpdate, and no GPU is free for the new pod: the deadline doesn't count, and the old pods serve."""
    p.cluster.slots = 2
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE, progress_deadline_seconds=10)
    _serving_one(p)
    p.put(2)
    p.settle(20.0)
    p.happens("a third GPU is free", lambda: setattr(p.cluster, "slots", 3))
    p.settle()


ALL: tuple[Callable[[Play], None], ...] = tuple(
    found
    for name, found in list(globals().items())
    if callable(found) and getattr(found, "__module__", "") == __name__ and not name.startswith("_") and name not in {"play", "Play"}
)
