"""Questions to the pods of one server about one model.

A pod *counts* for what clients get when it is ready. A pod that isn't ready and says nothing (it is being started, or its node
is gone) counts for nothing: it starts with whatever is published, and no client is sent to it before it serves. A pod that is
ready and says nothing holds everything back: silence is no verdict.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from tfmodel_operator.plan.rollout import facts
from tfmodel_operator.plan.rollout.config import Config
from tfmodel_serving import model_config, state

LIVE = frozenset({"START", "LOADING", "AVAILABLE", "UNLOADING"})
MANY_DEATHS = 3
"""So often a model server has died of a version when nobody waits for it any longer; agents come to that within a minute."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The pods, and the hash of the config they should be following; None: there is no config they could be behind.

    Answers are kept: one plan asks the same of every version, and of 50 pods with 120 versions each that is a lot.
    """

    model: str
    hash: str | None
    pods: tuple[facts.Pod, ...]

    @functools.cached_property
    def private(self) -> str:
        return model_config.candidate_name(self.model)

    @functools.cached_property
    def ready(self) -> tuple[facts.Pod, ...]:
        return tuple(pod for pod in self.pods if pod.ready)

    @functools.cached_property
    def reporting(self) -> tuple[facts.Pod, ...]:
        return tuple(pod for pod in self.pods if pod.report is not None)

    @functools.cached_property
    def following(self) -> tuple[facts.Pod, ...]:
        """Pods whose agent has read the published config: only they can tell how it fares."""
        return tuple(pod for pod in self.pods if self.follows(pod))

    @functools.cached_property
    def silent(self) -> tuple[facts.Pod, ...]:
        """Pods that clients are sent to and that say nothing."""
        return tuple(pod for pod in self.pods if pod.ready and pod.report is None)

    @functools.cached_property
    def _states(self) -> Mapping[tuple[str, str], Mapping[int, state.VersionState]]:
        """What each pod says of each version, by pod and name of the model."""
        names = (self.model, self.private)
        return {(pod.name, name): {one.version: one for one in _told(pod, name)} for pod in self.reporting for name in names}

    @functools.cached_property
    def _verdicts(self) -> dict[int, Mapping[str, state.VersionState | None]]:
        return {}

    def said(self, pod: facts.Pod, name: str, version: int) -> state.VersionState | None:
        """Return what a pod says of a version; None: nothing."""
        return self._states.get((pod.name, name), {}).get(version)

    def follows(self, pod: facts.Pod) -> bool:
        return pod.report is not None and self.hash in {None, pod.report.config_hash} and not pod.report.config_message

    def serving(self) -> frozenset[int]:
        """The versions that clients can reach in every ready pod."""
        served = [available(pod, self.model) for pod in self.ready]
        return frozenset.intersection(*served) if served else frozenset()

    def labels(self) -> dict[str, int]:
        """Return where labels are, in every ready pod."""
        placed = [_labels(pod, self.model) for pod in self.ready]
        common = set.intersection(*placed) if placed else set()
        return dict(sorted(common))

    def answering(self) -> frozenset[int]:
        """Return what requests that name no version get, from one ready pod or another."""
        return frozenset(max(found) for pod in self.ready if (found := available(pod, self.model)))

    def has_entry(self) -> bool:
        """Tell whether some agent has a config with the model in it."""
        return any(pod.report is not None and pod.report.model(self.model) is not None for pod in self.pods)

    def serves(self) -> bool:
        """Tell whether some pod has a version that clients can reach, or can be expected to."""
        return any(pod.report is None or available(pod, self.model) for pod in self.ready)

    def at_rest(self) -> bool:
        """Tell whether every ready pod has nothing left to do for the published config, or for what it has if there is none."""
        return all(self.follows(pod) and pod.report is not None and pod.report.settled for pod in self.ready)

    def moving(self) -> str:
        """Return which ready pod has something left to do for the config it has, and what; ``""``: none."""
        for pod in self.ready:
            if pod.report is None:
                return f"pod {pod.name} says nothing"
            if not self.follows(pod) or not pod.report.settled:
                return f"pod {pod.name}: {pod.report.config_message or pod.report.step}"
        return "" if self.ready else "no pod is ready"

    def lacking(self, name: str, versions: Iterable[int]) -> str:
        """Return why not every ready pod has ``versions`` of ``name`` AVAILABLE under the published config; ``""``: all have.

        Without a ready pod nothing is known to serve.
        """
        for pod in self.ready:
            for version in sorted(versions):
                if said := self._lacks(pod, name, version):
                    return said
        return "" if self.ready else "no pod is ready"

    def _lacks(self, pod: facts.Pod, name: str, version: int) -> str:
        if pod.report is None:
            return f"pod {pod.name} says nothing"
        if not self.follows(pod):
            return f"pod {pod.name} has not read the new config yet{_because(pod.report.config_message)}"
        if pod.report.server_message:
            return f"pod {pod.name}: the model server does not answer: {pod.report.server_message}"
        found = self.said(pod, name, version)
        if found is None or found.state != "AVAILABLE":
            return f"pod {pod.name}: version {version} is {_state(found)}"
        return ""

    def without(self, versions: frozenset[int]) -> str:
        """Return which ready pod serves something, and not all of ``versions``; ``""``: none is known to."""
        for pod in self.ready:
            served = available(pod, self.model)
            if served and not versions <= served:
                return f"pod {pod.name} has to load version {min(versions - served)}"
        return ""

    def short_of(self, versions: frozenset[int]) -> str:
        """Return which ready pod serves something, and is yet to load some of ``versions``, and can; ``""``: none is known to."""
        for pod in self.ready:
            served = available(pod, self.model)
            said = {version: self.said(pod, self.model, version) for version in versions - served}
            coming = [version for version, found in said.items() if found is None or not _is_hopeless(found)]
            if served and coming:
                return f"pod {pod.name} has to load version {min(coming)}"
        return ""

    def has(self, name: str, version: int) -> int:
        """Return the number of ready pods that have ``version`` of ``name`` AVAILABLE."""
        return sum(1 for pod in self.ready if version in available(pod, name))

    def misses(self, version: int) -> bool:
        """Tell whether no pod is ready, none can have ``version`` as things are, and one has another version to answer with."""
        return not self.ready and any(available(pod, self.model) for pod in self.following) and self.is_nowhere(version)

    def is_nowhere(self, version: int) -> bool:
        """Tell whether no pod has ``version``, or can have it with the files that there are."""
        found = [self.said(pod, self.model, version) for pod in self.reporting]
        return bool(found) and not self.silent and all(one is not None and _is_hopeless(one) for one in found)

    def failed(self, name: str, version: int) -> str:
        """Return which pod failed to load ``version`` under the published config, and why; ``""``: none."""
        for pod in self.following:
            found = self.said(pod, name, version)
            if found is not None and found.failed:
                return f"pod {pod.name}: version {version} {_verdict(found)}"
        return ""

    def unsettled(self, config: Config) -> str:
        """Return which pod still does something else than ``config``, which is published; ``""``: none.

        Only then may something new begin: a pod that hasn't seen the way back yet would take the next attempt for the last.
        """
        for pod in self.pods:
            if pod.ready and pod.report is None:
                return f"pod {pod.name} says nothing"
            if pod.report is None:
                continue
            if not self.follows(pod):
                return f"pod {pod.name} has not read the new config yet{_because(pod.report.config_message)}"
            for name, policy in ((self.model, config.served), (self.private, config.candidate)):
                if policy is not None and not isinstance(policy, model_config.Specific):
                    continue  # which versions these are is the agent's to say
                named = set(policy.versions) if policy else set()
                if others := _live(pod, name) - named:
                    return f"pod {pod.name}: version {max(others)} is on its way out"
        return ""

    def verdicts(self, version: int) -> Mapping[str, state.VersionState | None]:
        """Return what each reporting pod's own mount says of ``version``, by pod; None: the pod hasn't said.

        A pod that can't read its volume, and serves nobody, isn't asked: it would hold up all others.
        """
        if version not in self._verdicts:
            self._verdicts[version] = {pod.name: self.finding(pod, version) for pod in self._asked}
        return self._verdicts[version]

    @functools.cached_property
    def _asked(self) -> tuple[facts.Pod, ...]:
        return tuple(pod for pod in self.reporting if pod.ready or not self._unreadable(pod))

    def finding(self, pod: facts.Pod, version: int) -> state.VersionState | None:
        """Return what a pod says of the files of ``version``: they are the same under both names."""
        return self.said(pod, self.model, version) or self.said(pod, self.private, version)

    def known(self) -> frozenset[int]:
        """All versions that some pod has seen on the volume."""
        return frozenset(
            found.version
            for pod in self.reporting
            for name in (self.model, self.private)
            for found in versions(pod, name)
            if found.verdict != "Missing"
        )

    def size(self, version: int) -> int:
        """Return the bytes on disk of ``version``, 0 if no pod knows."""
        return max((found.size_bytes for found in self.verdicts(version).values() if found), default=0)

    def digests(self, version: int) -> frozenset[str]:
        verdicts = self.verdicts(version).values()
        return frozenset(found.digest[: state.MESSAGE_CHARACTERS] for found in verdicts if found and found.digest)

    def unreadable(self) -> str:
        """Return which pod can't read its source; ``""``: none."""
        said = ((pod, self._unreadable(pod)) for pod in self.reporting)
        return next((f"pod {pod.name}: {message}" for pod, message in said if message), "")

    def _unreadable(self, pod: facts.Pod) -> str:
        models = (pod.report.model(name) for name in (self.model, self.private)) if pod.report else ()
        return next((model.source_message for model in models if model is not None and model.source_message), "")


def versions(pod: facts.Pod, name: str) -> tuple[state.VersionState, ...]:
    """Return what a pod says of the versions of a model; of numbers that no version can have, nothing."""
    return tuple(found for found in _told(pod, name) if 1 <= found.version <= model_config.MAX_VERSION)


def _told(pod: facts.Pod, name: str) -> tuple[state.VersionState, ...]:
    model = pod.report.model(name) if pod.report else None
    return model.versions if model else ()


def available(pod: facts.Pod, name: str) -> frozenset[int]:
    return frozenset(found.version for found in versions(pod, name) if found.state == "AVAILABLE")


def _labels(pod: facts.Pod, name: str) -> set[tuple[str, int]]:
    return {(label, found.version) for found in versions(pod, name) for label in found.labels}


def _live(pod: facts.Pod, name: str) -> set[int]:
    return {found.version for found in versions(pod, name) if found.state in LIVE}


def _is_hopeless(found: state.VersionState) -> bool:
    """Tell whether a pod hasn't got a version and has no reason to expect it: a server may have died once of something else."""
    is_failed = found.message.startswith(state.LOAD_FAILED) or found.crashes >= MANY_DEATHS
    return found.state not in LIVE and (is_failed or found.verdict != "Verified")


def _verdict(found: state.VersionState) -> str:
    """Return how a load failed; when the agent would try again is no concern of a version that is taken out."""
    return found.message if found.message.startswith(state.LOAD_FAILED) else "took the model server down while it was loading"


def _state(found: state.VersionState | None) -> str:
    if found is None:
        return "not known to the agent yet"
    if found.failed:
        return found.message
    if found.verdict != "Verified" and not found.state:
        return f"{found.verdict}: {found.message}"
    return found.state or "about to load"


def _because(message: str) -> str:
    return f": {message}" if message else ""
