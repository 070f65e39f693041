"""The write of status: once, and not again and again where the API server keeps something else of it."""

from __future__ import annotations

import json
import time

from aiohttp import web

from tests.unit.operator.makers import body
from tests.unit.operator.test_pace import status
from tests.unit.operator.wire import api, run
from tests.unit.operator.wire import status as refusal
from tfmodel_operator import publish
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.store import Store
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
