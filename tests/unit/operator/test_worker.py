"""What becomes of a pass that goes wrong."""

from __future__ import annotations

import asyncio
import logging

from tests.unit.operator.makers import body
from tests.unit.operator.wire import run, until
from tfmodel_operator import metrics, reconcile, worker
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


def test_nothing_is_done_in_a_namespace_of_which_not_all_is_known(monkeypatch):
    passes, known = [], set()

    async def reconcile_one(key, world):
        passes.append(key)

    async def test():
        monkeypatch.setattr(reconcile, "reconcile", reconcile_one)
        monkeypatch.setattr(worker, "HELD_SECONDS", 0.01)
        queue, measured = WorkQueue(), metrics.Metrics("image")
        world = World(Store(), None, None, None, None, None, lambda: False, knows=known.__contains__)
        working = asyncio.create_task(Worker(world, queue, measured).run())
        queue.add(("ml", "half"))

        def held():
            return measured.registry.get_sample_value("tfmodel_operator_reconcile_total", {"result": "held"}) or 0

        await until(lambda: held() >= 2)
        assert not passes
        known.add("ml")
        await until(lambda: passes)
        queue.close()
        await working

    run(test)
