from __future__ import annotations

import asyncio

from tests.unit.operator.wire import run, running
from tfmodel_operator import web


def test_a_loop_that_keeps_up_is_healthy_whatever_is_not_known_yet():
    async def test():
        health = web.Health(unsynced=lambda: "not all is known yet of pods", stuck=lambda: "")
        async with running(health.run()):
            await asyncio.sleep(0)
            assert health.failing() == ""
            assert health.unsynced() == "not all is known yet of pods"

    run(test)


def test_a_part_that_does_not_come_round_is_said():
    assert web.Health(unsynced=lambda: "", stuck=lambda: "the last sweep ended 1300 s ago").failing() == "the last sweep ended 1300 s ago"


def test_a_loop_that_is_late_is_said(monkeypatch):
    monkeypatch.setattr(web, "LAG_SECONDS", -web.BEAT_SECONDS - 1)
    assert "the event loop is" in web.Health(unsynced=lambda: "", stuck=lambda: "").failing()
