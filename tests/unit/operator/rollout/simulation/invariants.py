"""What must hold at every moment, judged by what the model servers really do, not by what the planner believes."""

from __future__ import annotations

import collections
import re
from typing import Any

from tests.unit.operator.rollout.simulation.cluster import MODEL, Cluster
from tests.unit.operator.rollout.simulation.pod import Pod
from tfmodel_operator.api.rollout_spec import Approval, ComparisonPolicy, Strategy
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import narrate
from tfmodel_operator.plan.rollout.step import Phase, Step

JUST_NOW = 1.5
"""Seconds between what an agent saw and what the operator made of it."""
LABELS_SECONDS = 4.0
"""How long a label may be usable in one pod and not in another: the slowest kubelet needs two."""


class Watch:
    """Looks at a cluster after every tick and at every publication; raises AssertionError."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.trace: collections.deque[str] = collections.deque(maxlen=60)
        self.publications = 0
        self._ready: set[Pod] = set()
        self._serving: dict[Pod, tuple[int, set[tuple[str, int]]]] = {}
        self._published: set[int] = set()
        self._faulted: dict[Pod, tuple[int, float]] = {}
        self._said = ""
        self._unnamed: dict[Pod, float] = {}
        self._good: frozenset[int] = frozenset()
        self._differing_since: float | None = None
        cluster.on_publish, cluster.on_step = self.published, self.stepped

    def note(self, text: str) -> None:
        self.trace.append(f"{self.cluster.now - 1.8e9:7.1f} {text}")

    def stepped(self, step: Step) -> None:
        if step.reason != self._said:
            self.note(f"{step.phase}: {step.reason}")
            self._said = step.reason
        self._promoted(step)
        if step.template.recreate:
            rollout = self.cluster.desired.rollout
            assert rollout.strategy in {Strategy.RECREATE, Strategy.AUTO}
            assert rollout.strategy is Strategy.RECREATE or self.cluster.desired.memory.recreate

    def _promoted(self, step: Step) -> None:
        """What becomes promoted is AVAILABLE in every ready pod."""
        good = step.record.good.versions if step.record.good else frozenset()
        is_forward = step.phase is not Phase.ROLLING_BACK
        if is_forward and self._good and good - self._good - (step.record.bake.previous.versions if step.record.bake else frozenset()):
            for pod in self.cluster.pods:
                if pod.ready and pod.server and not self._faulted_lately(pod):
                    assert good <= set(pod.serves(MODEL)), f"{sorted(good)} promoted, and {pod.name} has {sorted(pod.serves(MODEL))}"
        self._good = good

    def published(self, before: configs.Config, after: configs.Config, other_pods: bool) -> None:
        self.publications += 1
        self.note(f"published {after}{' for other pods' if other_pods else ''}")
        step = self.cluster.step
        assert step is not None
        good = step.record.good.versions if step.record.good else frozenset()
        resting = step.record.bake.previous.versions if step.record.bake else frozenset()
        held = step.record.held
        self._one_at_a_time(before, after, good | resting, held)
        for version in after.versions - before.versions - good - resting:
            self._gates_passed(version, bool(good))
        if not other_pods:
            self._labels_may_move(before, after)
            self._labels_stay(before, after)
            self._nothing_goes_early(before, after, good)
        self._published |= after.versions

    def _one_at_a_time(self, before: configs.Config, after: configs.Config, known: frozenset[int], held: frozenset[int]) -> None:
        if not known:
            return
        now = (after.versions - known) | (after.on_trial - held)
        assert len(now) <= 1, f"two rollouts at once: {now}"
        was = (before.versions - known) | (before.on_trial - held)
        assert not (was and now) or was & now, f"{now} began before {was} had left"

    def _gates_passed(self, version: int, compares: bool) -> None:
        rollout = self.cluster.desired.rollout
        assert rollout.approval is Approval.AUTOMATIC or rollout.approved_version == version, f"{version} is not approved"
        limit = rollout.comparison.max_relative_difference
        if rollout.comparison.policy is ComparisonPolicy.REQUIRE and compares:
            loaded = [pod.serves(f"{MODEL}--candidate").get(version) for pod in self.cluster.pods if pod.ready]
            assert all(files is None or files.difference <= limit for files in loaded), f"{version} differs"
        if not compares:
            return  # nothing was promoted yet: the agents verify what is named, and serve what they can
        for pod in self.cluster.pods:
            seen = [pod.mount.at(self.cluster.now - tenths / 10).get(version) for tenths in range(round(10 * JUST_NOW) + 1)]
            verified = any(files is not None and files.complete for files in seen)
            assert verified or not pod.ready, f"{version} is not verified on {pod.name}"

    def _nothing_goes_early(self, before: configs.Config, after: configs.Config, good: frozenset[int]) -> None:
        """What serves isn't dropped before a ready pod has something that stays: its agent would save it, and it would be too few.

        But a first version whose approval is withdrawn: that is what was asked for. And in a pod whose server can't load what is
        promoted: it isn't waited for, and its agent does keep what serves.
        """
        rollout = self.cluster.desired.rollout
        if not good and rollout.approval is Approval.MANUAL and rollout.approved_version not in before.versions:
            return

        def cannot(pod: Pod) -> bool:
            there = pod.mount.at(self.cluster.now)
            found = [there[version] for version in good & after.versions if version in there]
            return bool(found) and not any(files.good for files in found)

        for pod in self.cluster.pods:
            served = set(pod.serves(MODEL))
            if pod.ready and served & (before.versions - after.versions) and not self._faulted_lately(pod) and not cannot(pod):
                assert served & after.versions & good, f"{pod.name} has {sorted(served)}, and {after} is published"

    def _labels_stay(self, before: configs.Config, after: configs.Config) -> None:
        """A label that the user wants and clients can use isn't taken away while its version is served.

        But one that an agent has put back for want of the version it is meant for.
        """
        wish = self.cluster.desired.labels
        placed = [set(pod.server.labels.items()) for pod in self.cluster.pods if pod.ready and pod.server]
        for label, version in set.intersection(*placed) if placed else set():
            is_published = before.labels.get(label) == version
            if is_published and label in ({"stable"} if wish is None else wish) and version in after.versions:
                assert label in after.labels, f"label {label}, which is on version {version}, is taken away"

    def _labels_may_move(self, before: configs.Config, after: configs.Config) -> None:
        for label, version in after.labels.items():
            if before.labels.get(label) == version:
                continue
            for pod in self.cluster.pods:
                if pod.ready and pod.serves(MODEL) and not self._faulted_lately(pod):
                    assert version in pod.serves(MODEL), f"label {label} moves to {version}, which {pod.name} hasn't got"

    def check(self) -> None:
        for pod in self.cluster.pods:
            pod.on_push = self.note
            self._pod(pod)
        for pod in set(self._serving) - set(self.cluster.pods):
            del self._serving[pod]
        for pod in self.cluster.pods:
            if pod.ready:
                self._has_labels(pod)
        self._ready = {pod for pod in self.cluster.pods if pod.ready}
        self._labels_agree()

    def _labels_agree(self) -> None:
        """A label that clients can use in one ready pod is not missing in another for long: they reach any of them.

        Where pods have other ConfigMaps than others, each has to have the labels of its own. But those whose version can't be had
        any more: the next pods come with another one.
        """
        ready = [pod for pod in self.cluster.pods if pod.ready and pod.server and self._serving.get(pod)]
        wish = self.cluster.desired.labels
        wanted = {"stable"} if wish is None else set(wish)
        usable = {pod: wanted & {label for label, _ in self._serving[pod][1]} for pod in ready}
        amiss = self._labels_are_amiss(usable, wanted)
        quiet = self.cluster.operator and not any(pod.muted or self._faulted_lately(pod) for pod in ready)
        self._differing_since = (self._differing_since or self.cluster.now) if amiss and quiet else None
        lasts = self.cluster.now - self._differing_since if self._differing_since else 0.0
        assert lasts < LABELS_SECONDS, {pod.name: labels for pod, labels in usable.items()}

    def _labels_are_amiss(self, usable: dict[Pod, set[str]], wanted: set[str]) -> bool:
        """Tell whether some pod lacks a label that it, or another one of its config, has."""
        due = {pod: wanted & set(pod.mounted.config.labels) for pod in usable}
        alike = len({(pod.template[1], *sorted(labels)) for pod, labels in usable.items()}) <= len({pod.template[1] for pod in usable})
        if alike and all(due[pod] <= labels for pod, labels in usable.items()):
            return False  # as nearly always: what is lost need not be asked
        lost = {pod: self._lost(pod) for pod in usable}
        by_config: dict[str, set[frozenset[str]]] = {}
        for pod, labels in usable.items():
            by_config.setdefault(pod.template[1], set()).add(frozenset(labels) | (wanted & lost[pod]))
        differing = any(len(found) > 1 for found in by_config.values())
        return differing or any(due[pod] - labels - lost[pod] for pod, labels in usable.items())

    def _lost(self, pod: Pod) -> set[str]:
        """The labels that a pod has mounted, of versions whose files are gone, or bad.

        Or of one that it loads: it became ready by the config before, in the moment between the look at which all ready pods
        had that version and the kubelet's bringing it the label.
        """
        good = {version for version, what in pod.mount.at(self.cluster.now).items() if what.good}
        states = pod.server.look({MODEL}).models.get(MODEL, {}) if pod.server else {}
        loading = {version for version, one in states.items() if one.state in {"START", "LOADING"}}
        return {label for label, version in pod.mounted.config.labels.items() if version not in good - loading}

    def _has_labels(self, pod: Pod) -> None:
        """A pod that becomes ready has every label of its config whose version isn't gone, also where that doesn't load."""
        if pod in self._ready or pod.server is None or pod.report is None or pod.report.config_hash != pod.mounted.hash:
            return
        whole = [pod.mount.at(self.cluster.now - seconds) for seconds in (0.0, JUST_NOW)]
        due = {(label, v) for label, v in pod.mounted.config.labels.items() if all(v in files for files in whole)}
        assert due <= set(pod.server.labels.items()), f"{pod.name} is ready, and has {pod.server.labels} of {due}"

    def _pod(self, pod: Pod) -> None:
        if not pod.mounted.config.versions and pod.history.pushed and MODEL in pod.history.pushed:
            self._published |= pod.history.pushed[MODEL].versions  # chosen by the agent, while nothing was ever promoted
        faults, _ = self._faulted.get(pod, (0, 0.0))
        if pod.faults != faults:
            self._faulted[pod] = (pod.faults, self.cluster.now)
            self._serving.pop(pod, None)
        if not pod.ready or pod.server is None:
            return
        available = set(pod.serves(MODEL))
        labels = {(label, version) for label, version in pod.server.labels.items() if version in available}
        step = self.cluster.step
        is_none_yet = pod.mounted.config.served is None and step is not None and step.record.good is None
        if is_none_yet:
            self._serving.pop(pod, None)  # nothing was ever promoted, and from now on something is asked of a version
        before = self._serving.get(pod)
        if before is not None:
            assert available, f"{pod.name} served {before[0]} and serves nothing"
            kept = {label for label, version in before[1] if version in pod.mounted.config.versions}
            lost = (kept & set(pod.mounted.config.labels)) - {label for label, _ in labels}
            assert not lost, f"{pod.name} has lost labels {lost}: {pod.server.labels} among {available}"
        if available:
            self._answers(pod, max(available))
        if available and not is_none_yet:
            self._serving[pod] = (max(available), labels)

    def _answers(self, pod: Pod, version: int) -> None:
        """Requests without a version get one that has passed, and that status names."""
        assert version in self._published, f"{pod.name} answers with {version}, which was never published"
        if not self._is_named(version) and not pod.muted and self.cluster.operator:
            since = self._unnamed.setdefault(pod, self.cluster.now)
            assert self.cluster.now - since < 2 * JUST_NOW, f"{pod.name} answers with {version}, and status says {self._status()}"
        else:
            self._unnamed.pop(pod, None)

    def _status(self) -> dict[str, Any]:
        assert self.cluster.step is not None
        return narrate.status(self.cluster.step, self.cluster.facts(), MODEL)

    def _is_named(self, version: int) -> bool:
        """Tell whether status names a version that clients get."""
        step = self.cluster.step
        if step is None or version in {step.promoted, step.candidate}:
            return True
        said = self._status()
        named = re.findall(r"versions? ([0-9]+(?:, [0-9]+)*)", said["rollout"]["step"])
        return version == said.get("promotedVersion") or str(version) in ", ".join(named).split(", ")

    def _faulted_lately(self, pod: Pod) -> bool:
        return self.cluster.now - self._faulted.get(pod, (0, -1e9))[1] < JUST_NOW

    def story(self) -> str:
        return "\n".join(self.trace)
