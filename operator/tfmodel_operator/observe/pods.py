"""What the stored pods say: whether one is ready, and if not, why, in the scheduler's and the kubelet's own words."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.observe import workload

AGENT_CONTAINER = "agent"
PULL_FAILURES = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
STARTING = {None, "PodInitializing", "ContainerCreating"}
CRASHES = 3
"""Between two of its crashes a container runs for a while: after so many it counts as crashing then, too."""
CRASH_SECONDS = 300.0
"""A container that ran for longer before it ended is not crashing."""

LAST_WORDS = 300
"""Characters of what a container logged last: what is around it is cut from its end on, and must not begin with old news."""
# TensorFlow's own form and that of Abseil, which it uses since 2.13; libstdc++.
FATAL = re.compile(r"\S+ \S+: F |F\d{4} |terminate called after")

# kube-scheduler, plugins noderesources/fit.go and dynamicresources: names of extended resources have a domain.
NO_ACCELERATOR = re.compile(r"Insufficient [a-z0-9.-]+/[A-Za-z0-9]|cannot allocate all claims")
# plugins volumebinding and volumezone: no such claim, none bound, bound elsewhere.
NO_VOLUME = re.compile(r"persistentvolumeclaim|persistent volume|pvc\(s\)|volume node affinity", re.IGNORECASE)


def ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether the kubelet says Ready."""
    return bool(workload.condition(pod.get("status", {}), "Ready").get("status") == "True")


def agent_started(pod: Mapping[str, Any]) -> bool:
    """Tell whether the container of the agent runs and has answered its startup probe."""
    return any(status["name"] == AGENT_CONTAINER and status.get("started") is True for status in _containers(pod))


def claims(pod: Mapping[str, Any]) -> frozenset[str]:
    """Return the claims that are mounted in a pod of a shared server; of other pods they aren't kept."""
    return frozenset(volume["persistentVolumeClaim"]["claimName"] for volume in pod.get("spec", {}).get("volumes", ()))


def phase(pod: Mapping[str, Any]) -> str:
    """Return how far a pod is that isn't ready, for people."""
    for status in _containers(pod):
        if reason := _waiting(status).get("reason"):
            return f"container {status['name']} is in {reason}"
        if not status.get("ready"):
            return f"container {status['name']} is starting{_again(status)}"
    if workload.condition(pod.get("status", {}), "ContainersReady").get("status") == "True":
        node = pod.get("spec", {}).get("nodeName", "")
        return f"its containers are ready, so its node may be lost (`kubectl get node {node}`), or a readiness gate is not met"
    return "it is about to be started"


def problem(pod: Mapping[str, Any]) -> Finding | None:
    """Return why a pod can't start, or None: nothing is known to be wrong with it."""
    scheduled = workload.condition(pod.get("status", {}), "PodScheduled")
    if scheduled.get("status") == "False":
        return _unschedulable(scheduled.get("message", "it is not scheduled yet"))
    for status in _containers(pod):
        if found := _container_problem(status):
            return found
    return None


def unschedulable(pod: Mapping[str, Any]) -> bool:
    """Tell whether the scheduler finds no room for a pod."""
    scheduled = workload.condition(pod.get("status", {}), "PodScheduled")
    return scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"


def crash(pod: Mapping[str, Any]) -> str:
    """Return how the model server of a pod has ended again and again; ``""``: it hasn't."""
    status = _model_server(pod)
    if _waiting(status).get("reason") != "CrashLoopBackOff" and not _crashes(status):
        return ""
    return f"it {_ending(status)}"


def crashed_at(pod: Mapping[str, Any]) -> float | None:
    """Return when the model server of a pod last ended by itself, in Unix seconds, or None: it never has."""
    status = _model_server(pod)
    ended = [(status.get(key) or {}).get("terminated", {}).get("finishedAt") for key in ("state", "lastState")]
    return max((datetime.datetime.fromisoformat(at).timestamp() for at in ended if at), default=None)


def restarts(pod: Mapping[str, Any]) -> int:
    """Return how often the model server of a pod has been started again."""
    return int(_model_server(pod).get("restartCount", 0))


def _model_server(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((status for status in _containers(pod) if status["name"] == workload.SERVER_CONTAINER), {})


def _unschedulable(message: str) -> Finding:
    reason = Reason.WAITING_FOR_PODS
    if NO_ACCELERATOR.search(message):
        reason = Reason.WAITING_FOR_ACCELERATOR
    elif NO_VOLUME.search(message):
        reason = Reason.SOURCE_UNAVAILABLE
    return Finding("False", reason, message)


def _container_problem(status: Mapping[str, Any]) -> Finding | None:
    waiting, name = _waiting(status), status["name"]
    reason = waiting.get("reason")
    if reason == "CrashLoopBackOff" or _crashes(status):
        return Finding("False", Reason.CRASH_LOOP_BACK_OFF, f"container {name} {_ending(status)}")
    said = f"container {name}: {waiting.get('message') or reason}"
    if reason in PULL_FAILURES:
        where = "spec.server.image" if name == workload.SERVER_CONTAINER else "the image of the operator"
        return Finding("False", Reason.IMAGE_PULL_FAILED, f"{said}; check {where} and the pull secrets")
    return None if reason in STARTING else Finding("False", Reason.WAITING_FOR_PODS, said)


def _crashes(status: Mapping[str, Any]) -> bool:
    """Tell whether a container that isn't ready has crashed so often that it will again."""
    last = status.get("lastState", {}).get("terminated", {})
    return status.get("restartCount", 0) >= CRASHES and not status.get("ready") and 0 <= _ran(last) < CRASH_SECONDS


def _ran(terminated: Mapping[str, Any]) -> float:
    """Return for how many seconds a container ran that has ended; -1 if that isn't known."""
    began, ended = (terminated.get(key) for key in ("startedAt", "finishedAt"))
    if not began or not ended:
        return -1.0
    return (datetime.datetime.fromisoformat(ended) - datetime.datetime.fromisoformat(began)).total_seconds()


def _ending(status: Mapping[str, Any]) -> str:
    """Say how a container ended last, and what to do."""
    last = status.get("lastState", {}).get("terminated", {})
    words = f"has been restarted {status.get('restartCount', 0)} times"
    if last:
        words += f"; it ended last with exit code {last.get('exitCode')} ({last.get('reason') or 'no reason given'})"
    if last.get("reason") == "OOMKilled":
        return f"{words}: raise the memory limit in spec.server.resources"
    said = _last_words(last.get("message", ""))
    return f"{words}{said and f': {said}'}; `kubectl logs --previous` of it tells more"


def _again(status: Mapping[str, Any]) -> str:
    """Say how a container ended before, if it did."""
    last = status.get("lastState", {}).get("terminated")
    return f" again, after exit code {last.get('exitCode')} ({last.get('reason') or 'no reason given'})" if last else ""


def _last_words(log: str) -> str:
    """Return the end of a container's log, or what it logged as fatal, which a stack trace follows."""
    lines = log.splitlines()
    fatal = max((number for number, line in enumerate(lines) if FATAL.match(line)), default=None)
    if fatal is not None:
        return " ".join(" ".join(lines[fatal:]).split())[:LAST_WORDS]
    words = " ".join(log.split())
    return words if len(words) <= LAST_WORDS else f"…{words[-LAST_WORDS:]}"


def _containers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the status of every container, in the order in which they start."""
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def _waiting(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return status.get("state", {}).get("waiting") or {}
