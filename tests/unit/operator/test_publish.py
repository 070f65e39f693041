"""The write of status: once, and not again and again where the API server keeps something else of it."""

from __future__ import annotations

import datetime
import json
import logging
import time

import pytest
from aiohttp import web

from tests.unit.operator.makers import body
from tests.unit.operator.rollout.makers import desired, pod, seen
from tests.unit.operator.test_pace import status
from tests.unit.operator.wire import api, run
from tests.unit.operator.wire import status as refusal
from tfmodel_operator import publish
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.plan.progress import Progress
from tfmodel_operator.plan.rollout import narrate, planner
from tfmodel_operator.status import pace
from tfmodel_operator.world import World

KEY = ("ml", "half")
READY = status("True", "AsDesired", "version 1 AVAILABLE on all 1 pods")


class Models:
    """The one TFModel; its status loses the fields in ``unknown``, as by an older schema."""

    def __init__(self, unknown=()):
        self.body, self.unknown, self.writes, self.gone = body(), unknown, [], False

    async def __call__(self, request):
        if self.gone:
            return refusal(404)
        self.writes.append(json.loads(await request.text())["status"])
        kept = {field: value for field, value in self.writes[-1].items() if field not in self.unknown}
        version = str(int(self.body["metadata"]["resourceVersion"]) + 1)
        self.body = {**self.body, "status": kept, "metadata": {**self.body["metadata"], "resourceVersion": version}}
        return web.json_response(self.body)


def publishing(models, *statuses):
    """Publish one status after the other, each as of a new pass; return what the passes said of the next look, and the world."""
    looks = []

    async def test():
        nonlocal world
        async with api(models) as client:
            world = World(Store(), client, None, None, Recorder(client, "one"), None, busy=lambda: False)
            world.store.upsert("TFModel", models.body)
            for one in statuses:
                if (stored := world.store.model(KEY)) is not None:
                    looks.append(await publish.publish(stored, one, KEY, world))

    world = None
    run(test)
    return looks, world


def test_a_status_is_written_once():
    models = Models()
    looks, _ = publishing(models, READY, READY, READY)
    assert models.writes == [READY]
    assert looks == [pace.STEADY_SECONDS] * 3


def test_what_the_api_server_keeps_of_it_is_left_at_that():
    models = Models(unknown=("replicas",))
    publishing(models, {**READY, "replicas": 1}, {**READY, "replicas": 1}, {**READY, "replicas": 1})
    assert len(models.writes) == 1
    urgent = {**status(reason="InvalidSpec", stalled=True), "replicas": 1}
    models = Models(unknown=("replicas",))
    publishing(models, {**READY, "replicas": 1}, urgent, urgent)
    assert len(models.writes) == 2


def test_news_that_are_not_due_are_looked_at_again_when_they_are():
    models = Models()
    looks, _ = publishing(models, READY, {**READY, "promotedVersion": 2})
    assert models.writes == [READY]
    assert 0 < looks[1] <= pace.NEWS_SECONDS


def test_a_model_that_is_gone_is_forgotten():
    models = Models()
    models.gone = True
    _, world = publishing(models, READY, READY)
    assert world.store.model(KEY) is None


def test_what_a_pod_that_was_just_told_answers_is_waited_for_unless_ready_changes():
    models, looks = Models(), []

    async def test():
        async with api(models) as client:
            world = World(Store(), client, None, None, Recorder(client, "one"), None, busy=lambda: False)
            world.store.upsert("TFModel", models.body)
            world.memory(KEY).written, world.memory(KEY).told = float("-inf"), time.monotonic()
            for one in (status(reason="WaitingForPods"), READY):
                looks.append(await publish.publish(world.store.model(KEY), one, KEY, world))

    run(test)
    assert models.writes == [READY]
    assert 0 < looks[0] <= pace.ECHO_SECONDS


@pytest.mark.parametrize(
    ("before", "writes"),
    [
        pytest.param(status(reason="ModelLoading"), 1, id="what clients get meanwhile is told"),
        pytest.param({"observedGeneration": -1}, 0, id="a new TFModel waits: it is Ready in a moment"),
    ],
)
def test_pods_that_are_told_of_one_version_after_the_other_keep_no_news_back(before, writes):
    models = Models()
    models.body["status"] = before

    async def test():
        async with api(models) as client:
            world = World(Store(), client, None, None, Recorder(client, "one"), None, busy=lambda: False)
            world.store.upsert("TFModel", models.body)
            memory = world.memory(KEY)
            memory.written = float("-inf")
            memory.told, memory.news_since = time.monotonic(), time.monotonic() - pace.ECHO_SECONDS
            await publish.publish(world.store.model(KEY), status(reason="RollingOut"), KEY, world)

    run(test)
    assert len(models.writes) == writes


def progress(*pods, versions=(1,), good=(1,)):
    found = seen(*pods, versions=set(versions), good=set(good))
    step = planner.plan_rollout(desired(), found, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp())
    return Progress(step, narrate.rollout(step, found, "half"))


def test_each_step_of_a_rollout_is_a_line_with_its_reason(caplog):
    caplog.set_level(logging.INFO)
    complete = progress(pod("a", {1: "AVAILABLE"}))
    growing = progress(pod("a", {1: "AVAILABLE", 2: ""}))
    loading = progress(pod("a", {1: "AVAILABLE", 2: "LOADING"}), versions=(1, 2))
    promoted = progress(pod("a", {1: "AVAILABLE", 2: "AVAILABLE"}), versions=(1, 2))
    publish.tell_step(None, complete)
    assert not caplog.records, "at the start of the operator nothing has changed"
    for before, after in ((complete, growing), (growing, growing), (growing, loading), (loading, promoted), (promoted, promoted)):
        publish.tell_step(before, after, tfmodel="half")
    publish.tell_step(None, loading)
    said = [(r.levelname, r.getMessage(), r.promoted, r.candidate, r.config) for r in caplog.records]
    assert said == [
        ("INFO", "Rollout is Growing", 1, 2, "{1, 2} stable=1"),
        ("INFO", "Rollout is Settling", 2, None, "{2} stable=2"),
        ("INFO", "Rollout is Growing", 1, 2, "{1, 2} stable=1"),
    ]
    assert caplog.records[0].step.startswith("publish {1, 2} stable=1: version 2 verified on the one pod")
    assert caplog.records[0].tfmodel == "half"
