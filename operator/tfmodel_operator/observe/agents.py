"""What the agents say at `/v1/state`, followed by long polls: an agent answers when its state changes.

Only pods of our own are asked, at the address the API server gives; the answer must carry the pod's UID, because an
address may have gone to another pod since. No redirects, bounded in time and size.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp

from tfmodel_operator.api import labels
from tfmodel_serving import state

Key = tuple[str, str]

WAIT_SECONDS = 120
"""How long an agent may hold its answer back while nothing changes; a pod costs one request in that time."""
RETRY_SECONDS = 1.0
PAUSE_SECONDS = 0.1
"""Between two answers: no agent, however wrong, is asked in a hot loop."""


class AgentUnreachable(Exception):
    """No usable answer; it says nothing about the models."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The last word of one agent: its state, or why there is none."""

    state: state.AgentState | None = None
    message: str = "its agent has not answered yet"


class Agents:
    """Follows the agents of all pods; tells by ``changed`` whose word is new."""

    def __init__(self, http: aiohttp.ClientSession, changed: Callable[[Key], None]) -> None:
        self._http = http
        self._changed = changed
        self._followed: dict[Key, dict[tuple[str, str], asyncio.Task[None]]] = {}
        self._reports: dict[str, Report] = {}

    def follow(self, key: Key, pods: Iterable[Mapping[str, Any]]) -> None:
        """Follow the agents of exactly these pods on behalf of ``key``; pods without an address are left out."""
        wanted = {(pod["metadata"]["uid"], address) for pod in pods if (address := pod.get("status", {}).get("podIP"))}
        tasks = self._followed.setdefault(key, {})
        for one in set(tasks) - wanted:
            tasks.pop(one).cancel()
            self._reports.pop(one[0], None)
        for one in wanted - set(tasks):
            tasks[one] = asyncio.create_task(self._follow(key, *one))
        if not tasks:
            del self._followed[key]

    def report(self, pod_uid: str) -> Report:
        """Return the last word of the agent in this pod."""
        return self._reports.get(pod_uid, Report())

    def pending(self, key: Key) -> bool:
        """Tell whether an agent has neither answered nor failed to yet: nothing is to be concluded from that."""
        return any(pod_uid not in self._reports for pod_uid, _ in self._followed.get(key, {}))

    async def _follow(self, key: Key, pod_uid: str, pod_ip: str) -> None:
        tag = ""
        while True:
            try:
                found, tag = await fetch_state(self._http, pod_ip, pod_uid, tag)
                report = Report(found, "") if found is not None else self.report(pod_uid)
            except AgentUnreachable as error:
                report, tag = Report(message=str(error)), ""
            if report != self._reports.get(pod_uid):
                self._reports[pod_uid] = report
                self._changed(key)
            await asyncio.sleep(RETRY_SECONDS if report.state is None else PAUSE_SECONDS)


async def fetch_state(session: aiohttp.ClientSession, pod_ip: str, pod_uid: str, tag: str) -> tuple[state.AgentState | None, str]:
    """Ask one agent; return its state (None: the one that ``tag`` names still holds) and the state's tag.

    Raises:
        AgentUnreachable: No answer in time, or not one of this pod's agent.
    """
    host = f"[{pod_ip}]" if ":" in pod_ip else pod_ip
    url = f"http://{host}:{labels.AGENT_PORT}/v1/state"
    timeout = aiohttp.ClientTimeout(sock_connect=2, total=(WAIT_SECONDS if tag else 0) + 3)
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
