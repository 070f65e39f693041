"""What the agents of all pods say: pods and ConfigMaps come in, states come out. The answers are built by the code the real
agent builds its own with.

A changed ConfigMap reaches a pod 0.1 s after an annotation of that pod changes, else within a minute, as on a real node: an
operator that forgets to touch the pods is not faster here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfmodel_serving import agent_config, model_config, state

TOUCHED_SECONDS = 0.1
UNTOUCHED_SECONDS = 60.0
FIRST_LOOK_SECONDS, SECOND_LOOK_SECONDS = 1.4, 1.0
"""How long an agent at rest takes at most to look at the volume, and to look again (IDLE_SECONDS and SOURCE_LOOK_SECONDS in
tfmodel_agent.loop): only then it calls a version complete."""

ConfigMapName = tuple[str, str]


class Pod:
    """One pod and its agent."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.uid: str = body["metadata"]["uid"]
        self.name: str = body["metadata"]["name"]
        self.address = ""
        self.config = config_name(body)
        self.annotations = body["metadata"].get("annotations", {})
        self.mounted: dict[str, str] | None = None
        self.models: tuple[model_config.Model, ...] = ()
        self.incomplete: dict[str, int] = {}  # model: a version that has been looked at once
        self.available: frozenset[tuple[str, int]] = frozenset()
        self.answered = 0.0  # time.monotonic() of the last whole answer
        self._changed = asyncio.Event()
        self.publish(state.AgentState(self.uid, "", ready=False, settled=False, step="waiting for the config"))

    def publish(self, said: state.AgentState) -> None:
        """Say something else from now on; those who wait for that hear it."""
        self.body = json.dumps(state.to_dict(said), sort_keys=True).encode()
        self.tag = f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, seconds: float) -> None:
        """Return when something else is said, or the time is up."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return


class Fleet:
    """All pods that have an agent.

    Args:
        volume: The versions that every model has on its claim.
        loading_seconds: How long a version is LOADING in a pod before it is AVAILABLE.
        poll_seconds: Between two looks of a model server at what it should have: so long a change waits for it at most.
    """

    def __init__(self, volume: Collection[int] = (1, 2), loading_seconds: float = 0.0, poll_seconds: float = 0.0) -> None:
        self.volume, self.loading_seconds, self.poll_seconds = volume, loading_seconds, poll_seconds
        self._dropped: dict[str, set[int]] = {}
        self.pods: dict[str, Pod] = {}
        self.by_address: dict[str, Pod] = {}
        self.contacts: dict[str, float] = {}  # address: time.monotonic() of the last request that came there
        self._by_config: dict[ConfigMapName, set[Pod]] = {}
        self._configs: dict[ConfigMapName, dict[str, str]] = {}

    def see_pod(self, exists: bool, body: dict[str, Any]) -> None:
        """Take in a pod as it is now."""
        pod, address = self.pods.get(body["metadata"]["uid"]), body.get("status", {}).get("podIP")
        if pod is None:
            if exists and address:
                self._start(Pod(body), address)
        elif not exists:
            self._forget(pod)
        else:
            self._move(pod, address)  # kwok at times gives a pod another address, as a kubelet does with a new sandbox
            if (annotations := body["metadata"].get("annotations", {})) != pod.annotations:
                pod.annotations = annotations
                asyncio.get_running_loop().call_later(TOUCHED_SECONDS, self._mount, pod)

    def see_config(self, exists: bool, body: dict[str, Any]) -> None:
        """Take in a ConfigMap as it is now; one that is deleted stays in the pods that have it."""
        name = (body["metadata"]["namespace"], body["metadata"]["name"])
        if exists and self._configs.get(name) != body.get("data", {}):
            self._configs[name] = body.get("data", {})
            for pod in self._by_config.get(name, ()):
                delay = 0.0 if pod.mounted is None else UNTOUCHED_SECONDS
                asyncio.get_running_loop().call_later(delay, self._mount, pod)

    def drop(self, version: int, models: Collection[str] = ()) -> None:
        """Have a version, complete, on the volume of these models from now on; by default of all."""
        for pod in self.pods.values():
            named = {model.name for model in pod.models if not models or model.name in models}
            if named:
                self._see(pod, named, version)

    def _see(self, pod: Pod, models: Collection[str], version: int) -> None:
        loop, first = asyncio.get_running_loop(), random.uniform(0.0, FIRST_LOOK_SECONDS)  # noqa: S311 no secret
        for model in models:
            self._dropped.setdefault(model, set())
            loop.call_later(first, self._say_incomplete, pod, model, version)
            loop.call_later(first + SECOND_LOOK_SECONDS, self._say_complete, pod, model, version)

    def _say_incomplete(self, pod: Pod, model: str, version: int) -> None:
        pod.incomplete[model] = version
        self._serve(pod)

    def _say_complete(self, pod: Pod, model: str, version: int) -> None:
        pod.incomplete.pop(model, None)
        self._dropped[model].add(version)
        self._serve(pod)

    def _on_volume(self, model: str) -> frozenset[int]:
        return frozenset(self.volume) | self._dropped.get(model.removesuffix(model_config.CANDIDATE_SUFFIX), set())

    def _start(self, pod: Pod, address: str) -> None:
        self.pods[pod.uid] = pod
        self._by_config.setdefault(pod.config, set()).add(pod)
        self._move(pod, address)
        self._mount(pod)

    def _move(self, pod: Pod, address: str) -> None:
        if address != pod.address:
            self._leave(pod)
            pod.address = address
            self.by_address[address] = pod

    def _leave(self, pod: Pod) -> None:
        if self.by_address.get(pod.address) is pod:  # else another pod has its address already
            del self.by_address[pod.address]

    def _forget(self, pod: Pod) -> None:
        del self.pods[pod.uid]
        self._by_config[pod.config].discard(pod)
        self._leave(pod)
        pod.publish(state.AgentState(pod.uid, "", ready=False, settled=False, step="the pod is gone"))

    def _mount(self, pod: Pod) -> None:
        config = self._configs.get(pod.config)
        if config is not None and config != pod.mounted and pod.uid in self.pods:
            pod.mounted = config
            self._serve(pod)

    def _serve(self, pod: Pod) -> None:
        """Have the server take its next step to what is mounted: all that is wanted comes first, then the rest goes."""
        if pod.mounted is None or pod.uid not in self.pods:
            return
        pod.models = model_config.from_text(pod.mounted["models.config"])
        digest = agent_config.content_hash(pod.mounted["models.config"], pod.mounted["agent.json"])
        volumes = {model.name: self._on_volume(model.name) for model in pod.models}
        wanted = frozenset((model.name, version) for model in pod.models for version in wanted_versions(model, volumes[model.name]))
        target = pod.available | wanted if wanted - pod.available else wanted
        delay = (self.loading_seconds if target > pod.available else 0.0) + random.uniform(0.0, self.poll_seconds)  # noqa: S311 no secret
        if target != pod.available and delay:
            asyncio.get_running_loop().call_later(delay, self._reached, pod, pod.mounted, target)
        else:
            pod.available = wanted
        settled = pod.available == wanted
        pod.publish(agent_state(pod.uid, digest, pod.models, volumes, pod.available, settled=settled, incomplete=pod.incomplete))

    def _reached(self, pod: Pod, mounted: dict[str, str], target: frozenset[tuple[str, int]]) -> None:
        if pod.mounted is mounted and pod.available != target:  # else another config came meanwhile
            pod.available = target
            self._serve(pod)


def config_name(pod: dict[str, Any]) -> ConfigMapName:
    """Return namespace and name of the ConfigMap that a pod's agent has mounted where its flag says."""
    agent = next(one for one in pod["spec"]["initContainers"] if one["name"] == "agent")
    path = next(one.removeprefix("--config=") for one in agent["args"] if one.startswith("--config="))
    volume = next(one["name"] for one in agent["volumeMounts"] if one["mountPath"] == path)
    config = next(one["configMap"]["name"] for one in pod["spec"]["volumes"] if one["name"] == volume)
    return pod["metadata"]["namespace"], config


def wanted_versions(model: model_config.Model, volume: Collection[int]) -> tuple[int, ...]:
    """Return the versions that a model's policy asks for, of those on the volume; newest first."""
    match model.version_policy:
        case model_config.Latest(count):
            return tuple(sorted(volume, reverse=True)[:count])
        case model_config.Specific(versions):
            return tuple(sorted(set(versions) & set(volume), reverse=True))
    return tuple(sorted(volume, reverse=True))


def agent_state(uid: str, config_hash: str, models: Sequence[model_config.Model], volumes: Mapping[str, Collection[int]],
                available: Collection[tuple[str, int]], *, settled: bool, incomplete: Mapping[str, int]) -> state.AgentState:
    """Return what an agent says whose model server has ``available`` and is loading the rest of what is wanted."""
    def version(model: model_config.Model, number: int) -> state.VersionState:
        if number not in volumes[model.name]:
            looked_at = incomplete.get(model.name) == number
            return state.VersionState(number, "Incomplete" if looked_at else "Missing", message="files have been looked at once")
        wanted = number in wanted_versions(model, volumes[model.name])
        serving = "AVAILABLE" if (model.name, number) in available else "LOADING" if wanted else ""
        digest = hashlib.sha256(f"{model.name} {number}".encode()).hexdigest()
        labels = tuple(label for label, labelled in model.version_labels.items() if labelled == number and serving == "AVAILABLE")
        return state.VersionState(number, "Verified", serving, wanted, digest=f"sha256:{digest}", size_bytes=1000,
                                  signatures=("serving_default",), warmup_records=1, labels=labels)

    def numbers(model: model_config.Model) -> list[int]:
        named = model.version_policy.versions if isinstance(model.version_policy, model_config.Specific) else ()
        looked_at = {incomplete[model.name]} if model.name in incomplete else set()
        return sorted({*volumes[model.name], *named, *looked_at}, reverse=True)

    def told(model: model_config.Model) -> state.ModelState:
        versions = tuple(version(model, number) for number in numbers(model))
        return state.ModelState(model.name, "", versions, available=any(each.state == "AVAILABLE" for each in versions))

    said = tuple(told(model) for model in models)
    loading = [f"version {each.version} of {model.name}" for model in said for each in model.versions if each.state == "LOADING"]
    step = f"waiting for {loading[0]} to load" if loading else "all versions wanted are AVAILABLE"
    ready = all(any(each.state == "AVAILABLE" for each in model.versions) for model in said)
    return state.AgentState(uid, config_hash, ready=ready, settled=settled, step=step, models=said)
