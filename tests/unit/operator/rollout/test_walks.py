"""Random walks over edits, files and faults: the invariants hold at every moment, and what can be reached is reached.

``ROLLOUT_STEPS`` sets how many steps are taken in all.
"""

from __future__ import annotations

import dataclasses
import os

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
VERSIONS = st.integers(1, 5)
KINDS = st.sampled_from(
    [{}, {}, {}, {"sound": False}, {"complete": False}, {"deadly": "load"}, {"deadly": "traffic"}, {"difference": 0.5},
     {"load_seconds": 3.0}]
)  # fmt: skip
POLICIES = st.one_of(
    st.builds(Latest, st.integers(1, 2)),
    st.just(All()),
    st.builds(lambda versions: Specific(tuple(sorted(versions))), st.sets(VERSIONS, min_size=1, max_size=3)),
)
LABELS = st.none() | st.dictionaries(st.sampled_from(["stable", "next"]), VERSIONS, max_size=2)
ROLLOUTS = st.builds(
    rollout_spec.Rollout,
    strategy=st.sampled_from([*["InPlace"] * 3, "Auto", "RollingUpdate", "Recreate"]).map(rollout_spec.Strategy),
    approval=st.sampled_from(["Automatic", "Automatic", "Manual"]).map(rollout_spec.Approval),
    approved_version=st.none() | VERSIONS,
    paused=st.sampled_from([False, False, False, True]),
    progress_deadline_seconds=st.sampled_from([8, 30]),
    bake_seconds=st.sampled_from([0, 0, 6, 20]),
    comparison=st.builds(
        rollout_spec.Comparison, st.sampled_from(["Disabled", "Disabled", "Report", "Require"]).map(rollout_spec.ComparisonPolicy)
    ),
    on_failure=st.sampled_from(list(rollout_spec.OnFailure)),
)
PAUSES = st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.2, 2.5, 5.0])
QUIET_SECONDS = 6.0
PATIENCE_SECONDS = 400.0


class Walk(RuleBasedStateMachine):
    """One cluster, and everything that can happen to it."""

    failed = False

    @initialize(
        policy=POLICIES, rollout=ROLLOUTS, replicas=st.integers(1, 3), lags=st.sampled_from([[0.0], [0.0, 0.9], [0.3, 2.5]]),
        delays=st.sampled_from([[0.1], [0.1, 0.8], [0.0, 0.4, 2.0]]),
    )  # fmt: skip
    def begin(self, policy, rollout, replicas, lags, delays):
        self.cluster = Cluster(facts.Desired(MODEL, policy, rollout=rollout), replicas)
        self.cluster.lags, self.cluster.delays = lags, delays
        self.watch = Watch(self.cluster)
        self.put(1, {}, 2.5)

    def go(self, pause):
        try:
            self.cluster.run(pause, self.watch.check)
        except AssertionError as error:
            self.failed = True
            raise AssertionError(f"{error}\n{self.watch.story()}") from error

    def edit(self, pause, **changes):
        self.cluster.desired = dataclasses.replace(self.cluster.desired, **changes)
        self.watch.note(f"--- edit {changes}")
        self.go(pause)

    @rule(version=VERSIONS, kind=KINDS, pause=PAUSES)
    def put(self, version, kind, pause):
        self.watch.note(f"--- put {version} {kind}")
        self.cluster.volume.put(version, files(**kind), self.cluster.now)
        self.go(pause)

    @rule(version=VERSIONS, pause=PAUSES)
    def remove(self, version, pause):
        self.watch.note(f"--- remove {version}")
        self.cluster.volume.remove(version, self.cluster.now)
        self.go(pause)

    @rule(policy=POLICIES, pause=PAUSES)
    def choose(self, policy, pause):
        self.edit(pause, policy=policy)

    @rule(labels=LABELS, pause=PAUSES)
    def label(self, labels, pause):
        self.edit(pause, labels=labels)

    @rule(rollout=ROLLOUTS, pause=PAUSES)
    def roll_out_otherwise(self, rollout, pause):
        self.edit(pause, rollout=rollout)

    @rule(version=st.none() | VERSIONS, pause=PAUSES)
    def approve(self, version, pause):
        self.edit(pause, rollout=dataclasses.replace(self.cluster.desired.rollout, approved_version=version))

    @rule(paused=st.booleans(), pause=PAUSES)
    def pause_rollout(self, paused, pause):
        self.edit(pause, rollout=dataclasses.replace(self.cluster.desired.rollout, paused=paused))

    @rule(text=st.sampled_from(["", "1", "2", "3", "4", "5", "3 again", "x"]), pause=PAUSES)
    def retry(self, text, pause):
        self.edit(pause, retry=text)

    @rule(template=st.sampled_from(["image-1", "image-2"]), pause=PAUSES)
    def change_template(self, template, pause):
        self.watch.note(f"--- template {template}")
        self.cluster.spec_template = template
        self.go(pause)

    @rule(replicas=st.integers(0, 3), pause=PAUSES)
    def scale(self, replicas, pause):
        self.watch.note(f"--- scale {replicas}")
        self.cluster.replicas = replicas
        self.go(pause)

    @precondition(lambda self: self.cluster.pods)
    @rule(data=st.data(), what=st.sampled_from(["crash", "restart_agent", "mute", "mute", "delete"]), pause=PAUSES)
    def trouble(self, data, what, pause):
        pod = data.draw(st.sampled_from(self.cluster.pods))
        self.watch.note(f"--- {what} {pod.name}")
        match what:
            case "mute":
                pod.muted = not pod.muted
            case "delete":
                self.cluster.remove(pod)
            case _:
                getattr(pod, what)()
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
            pod.muted = False
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
            case Phase.COMPLETE:
                if not any(pod.ready for pod in cluster.pods):
                    return  # nobody can say more
                promoted = step.record.good.versions
                ideal = wanted.chosen(cluster.desired.policy, {v for v, what in there.items() if what.complete} | promoted)
                assert ideal <= promoted | {one.version for one in step.record.quarantine}, (ideal, promoted)
                for pod in cluster.pods:
                    assert not pod.ready or max(pod.serves(MODEL), default=0) == step.promoted or pod.crashes, pod.name


def test_walks():
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=max(1, STEPS // STEPS_PER_WALK), stateful_step_count=STEPS_PER_WALK, deadline=None,
            suppress_health_check=list(HealthCheck), print_blob=True,
        ),
    )
