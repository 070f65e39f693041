"""Following agents, which the tests play at a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import aiohttp
import pytest
from aiohttp import web

from tests.unit.operator.makers import agent, version
from tests.unit.operator.wire import run, serving, until
from tfmodel_operator.api import labels
from tfmodel_operator.observe import agents
from tfmodel_serving import state

KEY = ("ml", "half")
STATE = dataclasses.replace(agent(version(1)), pod_uid="1")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(agents, "RETRY_SECONDS", (0.02, 0.05))
    monkeypatch.setattr(agents, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(agents, "SILENCE_SECONDS", 0.5)


class Agent:
    """An agent: ``state`` is what it says; long polls are answered when ``tell`` is called."""

    def __init__(self, said=STATE):
        self.said, self.number, self.asked, self.told, self.answer = said, 0, [], asyncio.Event(), None

    async def __call__(self, request):
        self.asked.append((request.path, request.headers.get("If-None-Match"), request.query.get("wait")))
        if self.answer is not None:
            return self.answer()
        if request.headers.get("If-None-Match") == self.tag:
            await self.told.wait()
        return web.json_response(state.to_dict(self.said), headers={"ETag": self.tag})

    @property
    def tag(self):
        return f'"{self.number}"'

    def tell(self, said):
        self.said, self.number = said, self.number + 1
        self.told.set()
        self.told = asyncio.Event()


def pod(uid="1", ready="False", address="127.0.0.1", started=True):
    status = {"conditions": [{"type": "Ready", "status": ready}]} | ({"podIP": address} if address else {})
    status["initContainerStatuses"] = [{"name": "agent", "started": started}]
    return {"metadata": {"uid": uid, "name": f"half-{uid}"}, "status": status}


@contextlib.asynccontextmanager
async def following(handler, monkeypatch):
    """Yield Agents and the keys they said had news; the agents' port is one that is free."""
    changed = []
    async with serving(handler) as url, aiohttp.ClientSession() as http:
        monkeypatch.setattr(labels, "AGENT_PORT", int(url.rsplit(":", 1)[1]))
        those = agents.Agents(http, changed.append)
        try:
            yield those, changed
        finally:
            those.follow(KEY, ())


def test_a_word_is_asked_for_once_and_then_waited_for(monkeypatch):
    async def test():
        one = Agent()
        async with following(one, monkeypatch) as (those, changed):
            those.follow(KEY, [pod()])
            assert those.pending(KEY)
            await until(lambda: len(one.asked) == 2)
            assert (those.report("1").state, those.pending(KEY), changed) == (STATE, False, [KEY])
            later = dataclasses.replace(STATE, config_hash="later")
            one.tell(later)
            await until(lambda: those.report("1").state == later)
            those.follow(KEY, [pod()])
            await asyncio.sleep(0.05)
        assert changed == [KEY, KEY]
        assert one.asked == [("/v1/state", None, None), ("/v1/state", '"0"', "240"), ("/v1/state", '"1"', "240")]

    run(test)


def test_an_agent_is_asked_anew_when_its_pod_becomes_ready(monkeypatch):
    async def test():
        one = Agent()
        async with following(one, monkeypatch) as (those, _):
            those.follow(KEY, [pod(ready="False")])
            await until(lambda: len(one.asked) == 2)
            one.said, one.number = dataclasses.replace(STATE, ready=False), 5  # as if the poll hung
            those.follow(KEY, [pod(ready="True")])
            assert those.report("1").state == STATE, "what is known stays until there is more"
            await until(lambda: those.report("1").state != STATE)
            assert not those.report("1").state.ready

    run(test)


ANSWERS = {
    "another pod at its address": lambda: web.json_response(state.to_dict(dataclasses.replace(STATE, pod_uid="2"))),
    "an error": lambda: web.Response(status=500),
    "no JSON": lambda: web.Response(text="<html>"),
    "not UTF-8": lambda: web.Response(body=b'"\xff"'),
    "another schema": lambda: web.json_response({"schema": 99}),
    "too much": lambda: web.Response(body=b" " * (state.MAX_BYTES + 1)),
    "too deep": lambda: web.Response(body=b"[" * 100_000),
    "a redirect": lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
}


@pytest.mark.parametrize("answer", [pytest.param(answer, id=name) for name, answer in ANSWERS.items()])
def test_what_is_no_answer_of_this_pods_agent_is_said(monkeypatch, answer):
    async def test():
        one = Agent()
        one.answer = answer
        async with following(one, monkeypatch) as (those, changed):
            those.follow(KEY, [pod()])
            await until(lambda: those.report("1").message != agents.NOTHING_YET.message)
            assert those.report("1").state is None
            await until(lambda: len(one.asked) >= 3)
            assert changed == [KEY], "the same again is no news"
        assert {path for path, *_ in one.asked} == {"/v1/state"}

    run(test)


def test_an_agent_that_restarts_is_no_news_and_one_that_stays_away_is(monkeypatch):
    async def test():
        one = Agent()
        async with following(one, monkeypatch) as (those, changed):
            those.follow(KEY, [pod()])
            await until(lambda: len(one.asked) == 2)
            one.answer = lambda: web.Response(status=503)
            one.tell(STATE)
            await until(lambda: len(one.asked) >= 5)
            one.answer = None
            asked = len(one.asked)
            await until(lambda: len(one.asked) > asked + 1)
            assert (changed, those.report("1").state) == ([KEY], STATE)
            one.answer = lambda: web.Response(status=503)
            one.tell(STATE)
            await until(lambda: those.report("1").state is None)
            assert "HTTP 503" in those.report("1").message

    run(test)


def test_the_silence_of_an_agent_before_its_start_says_nothing_of_it_afterwards(monkeypatch):
    monkeypatch.setattr(agents, "RETRY_SECONDS", (60.0, 60.0))

    async def test():
        one = Agent()
        one.answer = lambda: web.Response(status=503)
        async with following(one, monkeypatch) as (those, changed):
            those.follow(KEY, [pod(started=False)])
            await until(lambda: changed)
            assert those.report("1").message
            one.answer = None
            those.follow(KEY, [pod()])
            assert those.pending(KEY)
            await until(lambda: those.report("1").state == STATE)

    run(test)


def test_nobody_is_asked_any_more_whose_pod_is_gone(monkeypatch):
    async def test():
        one = Agent()
        async with following(one, monkeypatch) as (those, _):
            those.follow(KEY, [pod(), pod("9", address=None)])
            await until(lambda: not those.pending(KEY))
            those.follow(KEY, ())
            assert those.report("1") == agents.NOTHING_YET
            await asyncio.sleep(0.1)
            assert len(one.asked) <= 2

    run(test)


def test_so_many_and_no_more_are_asked_for_their_first_word_at_once(monkeypatch):
    async def test():
        now, most, release = 0, 0, asyncio.Event()

        async def slow(request):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await release.wait()
            now -= 1
            return web.Response(status=503)

        async with following(slow, monkeypatch) as (those, _):
            for number in range(200):
                those.follow(("ml", str(number)), [pod(str(number))])
            await until(lambda: now == agents.AT_ONCE)
            await asyncio.sleep(0.05)
            release.set()
            for number in range(200):
                those.follow(("ml", str(number)), ())
        assert most == agents.AT_ONCE

    run(test)
