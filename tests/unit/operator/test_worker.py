"""What becomes of a pass that goes wrong."""

from __future__ import annotations

import asyncio
import logging

from tests.unit.operator.makers import body
from tests.unit.operator.wire import run, until
from tfmodel_operator import metrics, reconcile
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.worker import Worker
from tfmodel_operator.workqueue import WorkQueue
from tfmodel_operator.world import World


def test_a_bug_that_one_model_brings_to_light_holds_up_no_other(monkeypatch, caplog):
    passes = []

    async def reconcile_one(key, world):
        passes.append(key[1])
        if key[1] == "poison":
            raise ZeroDivisionError("a bug")

    async def test():
        monkeypatch.setattr(reconcile, "reconcile", reconcile_one)
        queue, store, measured = WorkQueue(), Store(), metrics.Metrics("image")
        queue.BACKOFF_SECONDS = (0.01, 0.02)
        for name in ("poison", "half"):
            store.upsert("TFModel", body(name))
        working = asyncio.create_task(Worker(World(store, None, None, None, None, None, lambda: False), queue, measured).run())
        for key in store.models():
            queue.add(key)
        await until(lambda: "half" in passes and passes.count("poison") > 1)
        queue.close()
        await working
        assert measured.registry.get_sample_value("tfmodel_operator_reconcile_total", {"result": "bug"}) >= 2

    with caplog.at_level(logging.ERROR):
        run(test)
    assert "a bug" in caplog.text
