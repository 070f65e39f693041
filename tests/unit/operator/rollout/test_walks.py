"""Random walks over edits, files and faults: the invariants hold at every moment, and what can be reached is reached.

The walks of `make test` are the same ones each time, so that a change is judged by what it does; those of `make soak`, for which
``ROLLOUT_STEPS`` says how many steps are taken in all, are other ones each time.
"""

from __future__ import annotations

import dataclasses
import math
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.unit.operator.rollout.simulation.cluster import MODEL, Cluster
from tests.unit.operator.rollout.simulation.invariants import Watch
from tests.unit.operator.rollout.simulation.volume import files
from tfmodel_operator.api import rollout_spec
from tfmodel_operator.plan.rollout import facts, wanted
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving.model_config import All, Latest, Specific

STEPS = int(os.environ.get("ROLLOUT_STEPS", "10000"))
STEPS_PER_WALK = 50
STEPS_PER_ROUND = 20_000
"""What is told one by one, and spread over processes."""
MOST = 6
"""Versions there are at most."""
KINDS = st.sampled_from(
    [*[{}] * 5, {"sound": False}, {"complete": False}, {"deadly": "load"}, {"deadly": "traffic"}, {"difference": 0.5},
     {"load_seconds": 3.0}]
)  # fmt: skip
ROLLOUTS = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from([*["InPlace"] * 3, "Auto", "RollingUpdate", "Recreate"]).map(rollout_spec.Strategy),
        "approval": st.sampled_from(["Automatic", "Automatic", "Manual"]).map(rollout_spec.Approval),
        "progress_deadline_seconds": st.sampled_from([8, 30]),
        "bake_seconds": st.sampled_from([0, 6, 20]),
        "comparison": st.sampled_from(["Disabled", "Report", "Require"])
        .map(rollout_spec.ComparisonPolicy)
        .map(rollout_spec.Comparison),
        "on_failure": st.sampled_from(list(rollout_spec.OnFailure)),
    },
)
PAUSES = st.sampled_from([0.0, 0.3, 0.6, 1.2, 2.5, 2.5, 5.0, 5.0, 8.0])
SHORT = st.sampled_from([0.3, 1.5, 6.0])
QUIET_SECONDS = 6.0
PATIENCE_SECONDS = 400.0


class Walk(RuleBasedStateMachine):
    """One cluster, and everything that can happen to it."""

    failed = False

    @initialize(
        policy=st.sampled_from([Latest(1), Latest(2), All(), Specific((1,))]), rollout=ROLLOUTS, replicas=st.integers(1, 3),
        lags=st.sampled_from([[0.0], [0.0, 0.9], [0.3, 2.5]]), delays=st.sampled_from([[0.1], [0.1, 0.8], [0.0, 0.4, 2.0]]),
        memory=st.sampled_from([facts.Memory(), facts.Memory(limit_bytes=1 << 29), facts.Memory(limit_bytes=1 << 29, recreate=True)]),
    )  # fmt: skip
    def begin(self, policy, rollout, replicas, lags, delays, memory):
        wish = rollout_spec.Rollout(**{"strategy": rollout_spec.Strategy.IN_PLACE, "progress_deadline_seconds": 8, **rollout})
        self.cluster = Cluster(facts.Desired(MODEL, policy, rollout=wish, memory=memory), replicas)
        self.cluster.lags, self.cluster.delays = lags, delays
        self.watch = Watch(self.cluster)
        self.overwrite(1, {}, 5.0)

    def go(self, pause):
        try:
            self.cluster.run(pause, self.watch.check)
        except AssertionError as error:
            self.failed = True
            raise AssertionError(f"{error}\n{self.watch.story()}") from error

    def edit(self, pause, **changes):
        self.cluster.desired = dataclasses.replace(self.cluster.desired, **changes)
        self.watch.note(f"--- {changes}")
        self.go(pause)

    def roll_out(self, pause, **changes):
        self.watch.note(f"--- {changes}")
        rollout = dataclasses.replace(self.cluster.desired.rollout, **changes)
        self.cluster.desired = dataclasses.replace(self.cluster.desired, rollout=rollout)
        self.go(pause)

    def versions(self):
        return st.sampled_from(sorted(self.cluster.volume.now) or [1])

    @rule(kind=KINDS, pause=PAUSES)
    def drop(self, kind, pause):
        self.overwrite(min(MOST, max(self.cluster.volume.now, default=0) + 1), kind, pause)

    @rule(kind=KINDS, pause=PAUSES)
    def drop_and_wait(self, kind, pause):
        self.drop(kind, 5.0 + pause)

    @rule(version=st.integers(1, MOST), kind=KINDS, pause=PAUSES)
    def overwrite(self, version, kind, pause):
        self.watch.note(f"--- put {version} {kind}")
        self.cluster.volume.put(version, files(**kind), self.cluster.now)
        self.go(pause)

    @rule(data=st.data(), pause=PAUSES)
    def remove(self, data, pause):
        version = data.draw(self.versions())
        self.watch.note(f"--- remove {version}")
        self.cluster.volume.remove(version, self.cluster.now)
        self.go(pause)

    @rule(policy=st.sampled_from([Latest(1), Latest(1), Latest(2), All()]), pause=PAUSES)
    def choose(self, policy, pause):
        self.edit(pause, policy=policy)

    @rule(data=st.data(), missing=st.sampled_from([0, 0, 0, MOST + 1]), pause=PAUSES)
    def choose_by_number(self, data, missing, pause):
        chosen = data.draw(st.sets(self.versions(), min_size=1, max_size=2)) | ({missing} if missing else set())
        self.edit(pause, policy=Specific(tuple(sorted(chosen))))

    @rule(data=st.data(), pause=PAUSES)
    def label(self, data, pause):
        to_come = st.sampled_from([max(self.cluster.volume.now, default=0) + 1, MOST + 1])
        labels = st.dictionaries(st.sampled_from(["stable", "next"]), self.versions() | to_come, max_size=2)
        self.edit(pause, labels=data.draw(st.none() | labels))

    @property
    def promoted(self):
        good = self.cluster.step.record.good if self.cluster.step else None
        return sorted(good.versions) if good else []

    @precondition(lambda self: len(self.promoted) > 1)
    @rule(data=st.data(), pause=PAUSES)
    def label_what_is_promoted(self, data, pause):
        labels = st.dictionaries(st.sampled_from(["stable", "next"]), st.sampled_from(self.promoted), min_size=1, max_size=2)
        self.edit(pause, labels=data.draw(labels))

    @property
    def has_others(self):
        """Clients can be given something else than one of the promoted versions."""
        return len(self.promoted) > 1 or (bool(self.promoted) and self.cluster.step.record.bake is not None)

    @precondition(lambda self: self.has_others and self.cluster.pods)
    @rule(
        data=st.data(), kind=st.sampled_from([{"complete": False}, {"sound": False}, None]), pause=PAUSES,
        then=st.sampled_from(["", "labelled", "alone"]),
    )  # fmt: skip
    def spoil_what_is_promoted(self, data, kind, pause, then):
        """The files of one version go bad, or go, and one of the pods has to load it again; then it is asked for all the more."""
        pod, version = data.draw(st.sampled_from(self.cluster.pods)), data.draw(st.sampled_from(self.promoted))
        if kind is None:
            self.cluster.volume.remove(version, self.cluster.now)
        else:
            self.cluster.volume.put(version, files(**kind), self.cluster.now)
        self.watch.note(f"--- spoil {version} {kind}, crash {pod.name}")
        pod.crash()
        self.go(pause)
        until = self.cluster.now + 30.0
        while then and not pod.ready and pod in self.cluster.pods and self.cluster.now < until:
            self.go(1.0)  # the kubelet makes a server wait that has ended more than once
        if then == "labelled":
            self.edit(pause, labels={**(self.cluster.desired.labels or {}), "next": version})
        elif then == "alone":
            self.edit(pause, policy=Specific((version,)))

    @rule(changes=ROLLOUTS, pause=PAUSES)
    def roll_out_otherwise(self, changes, pause):
        self.roll_out(pause, **changes)

    @rule(data=st.data(), pause=PAUSES)
    def approve(self, data, pause):
        candidate = self.cluster.step.candidate if self.cluster.step else None
        self.roll_out(pause, approved_version=data.draw(st.just(candidate) | st.none() | self.versions()))

    @rule(pause=PAUSES, stays=st.sampled_from([False, False, True]))
    def pause_rollout(self, pause, stays):
        self.roll_out(pause, paused=True)
        if not stays:
            self.roll_out(pause, paused=False)

    @rule(text=st.sampled_from(["", "2", "3", "3 again", "4", "5", "x"]), pause=PAUSES)
    def retry(self, text, pause):
        self.edit(pause, retry=text)

    @rule(template=st.sampled_from(["image-1", "image-2"]), pause=PAUSES)
    def change_template(self, template, pause):
        self.watch.note(f"--- template {template}")
        self.cluster.spec_template = template
        self.go(pause)

    @rule(replicas=st.sampled_from([0, 1, 2, 2, 3]), pause=PAUSES)
    def scale(self, replicas, pause):
        self.watch.note(f"--- scale {replicas}")
        self.cluster.replicas = replicas
        self.go(pause)

    @precondition(lambda self: self.cluster.pods)
    @rule(data=st.data(), what=st.sampled_from(["crash", "restart_agent", "delete"]), pause=PAUSES)
    def trouble(self, data, what, pause):
        pod = data.draw(st.sampled_from(self.cluster.pods))
        self.watch.note(f"--- {what} {pod.name}")
        if what == "delete":
            self.cluster.remove(pod)
        else:
            getattr(pod, what)()
        self.go(pause)

    @precondition(lambda self: self.cluster.pods)
    @rule(data=st.data(), away=st.sampled_from([0.5, 3.0, 12.0]), pause=SHORT)
    def silence(self, data, away, pause):
        pod = data.draw(st.sampled_from(self.cluster.pods))
        self.watch.note(f"--- {pod.name} is silent for {away} s")
        pod.muted_until = self.cluster.now + away
        self.go(pause)

    @rule(writes=st.integers(0, 2), pause=PAUSES)
    def kill_operator(self, writes, pause):
        self.watch.note(f"--- operator killed after {writes} writes")
        self.cluster.kill_after = writes
        self.go(pause)

    @rule(away=st.sampled_from([1.0, 5.0, 20.0]))
    def operator_is_away(self, away):
        self.watch.note("--- no operator")
        self.cluster.operator = False
        self.go(away)
        self.cluster.operator = True

    @rule(pause=PAUSES)
    def lose_config(self, pause):
        self.watch.note("--- ConfigMap and record lost")
        self.cluster.maps.clear()
        self.cluster.record = ""
        self.go(pause)

    @rule(text=st.sampled_from(["", "", "{", '{"schema": 1, "good": {"versions": "x"}}']), pause=PAUSES)
    def lose_record(self, text, pause):
        self.watch.note(f"--- record lost: {text}")
        self.cluster.record = text
        self.go(pause)

    @rule(pause=st.sampled_from([3.0, 10.0, 25.0]))
    def wait(self, pause):
        self.go(pause)

    def teardown(self):
        if self.failed or not hasattr(self, "cluster"):
            return
        self.watch.note("--- no more changes")
        for pod in self.cluster.pods:
            pod.muted_until = 0.0
        self.cluster.kill_after = None
        try:
            self._settles()
            self._is_as_desired()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.watch.story()}") from error

    def _settles(self):
        until, quiet, published = self.cluster.now + PATIENCE_SECONDS, 0.0, self.watch.publications
        while quiet < QUIET_SECONDS:
            assert self.cluster.now < until, f"goes on for ever: {self.cluster.step}"
            self.cluster.run(1.0, self.watch.check)
            step = self.cluster.step
            moving = step.deadline is not None or self.watch.publications != published
            quiet = 0.0 if moving else quiet + 1.0
            published = self.watch.publications

    def _is_as_desired(self):
        """The state that lasts is the desired one, or says truly why not."""
        cluster, step = self.cluster, self.cluster.step
        rollout, there = cluster.desired.rollout, cluster.volume.now
        match step.phase:
            case Phase.PAUSED:
                assert rollout.paused
            case Phase.WAITING_FOR_APPROVAL:
                assert rollout.approval is rollout_spec.Approval.MANUAL
                assert rollout.approved_version != step.candidate
            case Phase.TRYING | Phase.COMPARING | Phase.GROWING | Phase.REPLACING | Phase.BAKING | Phase.ROLLING_BACK:
                assert not any(pod.ready for pod in cluster.pods), f"{step.phase} is no end: {step.reason}"
            case Phase.COMPLETE:
                if not any(pod.ready for pod in cluster.pods):
                    return  # nobody can say more
                promoted = step.record.good.versions
                ideal = wanted.chosen(cluster.desired.policy, {v for v, what in there.items() if what.complete} | promoted)
                assert ideal <= promoted | {one.version for one in step.record.quarantine}, (ideal, promoted)
                for pod in cluster.pods:
                    assert not pod.ready or max(pod.serves(MODEL), default=0) == step.promoted or pod.crashes, pod.name


@pytest.mark.parametrize("steps", [min(STEPS, STEPS_PER_ROUND)] * math.ceil(STEPS / STEPS_PER_ROUND))
def test_walks(steps):
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=max(1, steps // STEPS_PER_WALK), stateful_step_count=STEPS_PER_WALK, deadline=None,
            suppress_health_check=list(HealthCheck), print_blob=True, derandomize="ROLLOUT_STEPS" not in os.environ,
        ),
    )
