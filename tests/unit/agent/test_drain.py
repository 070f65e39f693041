"""When a pod that drains is ready again."""

from __future__ import annotations

import asyncio
import time

from tfmodel_agent import drain


def test_a_drain_that_no_termination_follows_undoes_itself(monkeypatch):
    monkeypatch.setattr(drain, "UNDO_SECONDS", 0.3)

    async def scene():
        draining = drain.Drain((), 0.0)
        assert not draining.active
        await draining.run()
        assert draining.active, "the kubelet has not ended the server yet"
        deadline = time.monotonic() + 5
        while draining.active:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    asyncio.run(scene())
