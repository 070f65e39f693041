"""What the agents say at `/v1/state`, followed by long polls: an agent answers when its state changes.

Only pods of our own are asked, at the address the API server gives; the answer must carry the pod's UID, because an
address may have gone to another pod since. No redirects, bounded in time and size.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import aiohttp

from tfmodel_operator.api import labels
from tfmodel_operator.api.kinds import Key
from tfmodel_operator.observe import pods as observed_pods
from tfmodel_operator.observe import workload
from tfmodel_serving import state

WAIT_SECONDS = 240
"""How long an agent may hold its answer back while nothing changes; a pod costs one request in that time."""
ANSWER_SECONDS = 3.0
CONNECT_SECONDS = 2.0
RETRY_SECONDS = (0.5, 5.0)
SILENCE_SECONDS = 5.0
"""For so long an agent's last word stands although it doesn't answer."""
PAUSE_SECONDS = 0.1
"""Between two answers: no agent, however wrong, is asked in a hot loop."""
AT_ONCE = 64
"""Agents that are asked for their first word at the same time: after a restart there are thousands."""


class AgentUnreachable(Exception):
    """No usable answer; it says nothing about the models."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The last word of one agent: its state, or why there is none."""

    state: state.AgentState | None = None
    message: str = "its agent has not answered yet"


NOTHING_YET = Report()


@dataclasses.dataclass(slots=True)
class _Follower:
    """One pod whose agent is followed. ``word`` is the kubelet's: when it changes, the agent has news."""

    word: tuple[str, bool]
    task: asyncio.Task[None]


class Agents:
    """Follows the agents of all pods; tells by ``changed`` whose word is new."""

    def __init__(self, http: aiohttp.ClientSession, changed: Callable[[Key], None]) -> None:
        self._http = http
        self._changed = changed
        self._followed: dict[Key, dict[tuple[str, str], _Follower]] = {}
        self._reports: dict[str, Report] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def follow(self, key: Key, pods: Iterable[Mapping[str, Any]]) -> None:
        """Follow the agents of exactly these pods on behalf of ``key``; pods without an address are left out.

        An agent is asked anew, at once, when the kubelet's word on its pod has changed. That it was silent before says nothing
        then: mostly it has just been started.
        """
        wanted = {
            (pod["metadata"]["uid"], address): _word(pod) for pod in pods if (address := pod.get("status", {}).get("podIP"))
        }
        followed = self._followed.setdefault(key, {})
        for one in followed.keys() - wanted.keys():
            followed.pop(one).task.cancel()
            self._reports.pop(one[0], None)
        for one, word in wanted.items():
            if (follower := followed.get(one)) is None or follower.word != word:
                if follower is not None:
                    follower.task.cancel()
                if self.report(one[0]).state is None:
                    self._reports.pop(one[0], None)
                followed[one] = _Follower(word, asyncio.create_task(self._follow(key, *one)))
        if not followed:
            del self._followed[key]

    def close(self) -> None:
        """Follow nobody any more."""
        for key in list(self._followed):
            self.follow(key, ())

    def report(self, pod_uid: str) -> Report:
        """Return the last word of the agent in this pod."""
        return self._reports.get(pod_uid, NOTHING_YET)

    def pending(self, key: Key) -> bool:
        """Tell whether an agent has neither answered nor failed to yet: nothing is to be concluded from that."""
        return any(pod_uid not in self._reports for pod_uid, _ in self._followed.get(key, {}))

    async def _follow(self, key: Key, pod_uid: str, pod_ip: str) -> None:
        tag, silent_since, delays = "", 0.0, backoff_delays()
        while True:
            try:
                found, tag = await self._ask(pod_ip, pod_uid, tag)
                report, silent_since, delays = Report(found, "") if found else self.report(pod_uid), 0.0, backoff_delays()
            except AgentUnreachable as error:
                report, tag, silent_since = Report(message=str(error)), "", silent_since or time.monotonic()
            # An agent that restarts is back in two seconds, and its server has served on: no news yet.
            waived = silent_since and self.report(pod_uid).state and time.monotonic() - silent_since < SILENCE_SECONDS
            if not waived and report != self._reports.get(pod_uid):
                self._reports[pod_uid] = report
                self._changed(key)
            await asyncio.sleep(next(delays) if silent_since else PAUSE_SECONDS)

    async def _ask(self, pod_ip: str, pod_uid: str, tag: str) -> tuple[state.AgentState | None, str]:
        if tag:
            return await fetch_state(self._http, pod_ip, pod_uid, tag)
        async with self._at_once:
            return await fetch_state(self._http, pod_ip, pod_uid, tag)


def _word(pod: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the kubelet's word on a pod: whether it is ready, and whether its agent has been started."""
    return str(workload.condition(pod["status"], "Ready").get("status", "")), observed_pods.agent_started(pod)


def backoff_delays() -> Iterator[float]:
    """Yield how long to wait before a silent agent is asked again: it may come up any moment."""
    first, last = RETRY_SECONDS
    return itertools.chain((first * 1.5**count for count in range(6)), itertools.repeat(last))


async def fetch_state(session: aiohttp.ClientSession, pod_ip: str, pod_uid: str, tag: str) -> tuple[state.AgentState | None, str]:
    """Ask one agent; return its state (None: the one that ``tag`` names still holds) and the state's tag.

    Raises:
        AgentUnreachable: No answer in time, or not one of this pod's agent.
    """
    host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
    url = f"http://{host}:{labels.AGENT_PORT}/v1/state"
    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, total=(WAIT_SECONDS if tag else 0) + ANSWER_SECONDS)
    headers, params = ({"If-None-Match": tag}, {"wait": str(WAIT_SECONDS)}) if tag else ({}, {})
    try:
        async with session.get(url, headers=headers, params=params, allow_redirects=False, timeout=timeout) as response:
            if response.status == 304:
                return None, tag
            body = await response.content.read(state.MAX_BYTES + 1)
            if response.status != 200 or len(body) > state.MAX_BYTES:
                raise AgentUnreachable(f"HTTP {response.status}, {len(body)} bytes")
            found, tag = state.from_dict(json.loads(body)), response.headers.get("ETag", "")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AgentUnreachable(str(error) or type(error).__name__) from error
    except (ValueError, RecursionError) as error:  # JSON, UTF-8 and the schema all raise kinds of ValueError
        raise AgentUnreachable(f"the answer can't be read: {error}") from error
    if found.pod_uid != pod_uid:
        raise AgentUnreachable("another pod answers at its address")
    return found, tag
