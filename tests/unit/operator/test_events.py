from __future__ import annotations

import asyncio
import json

from aiohttp import web

from tests.unit.operator.makers import body
from tests.unit.operator.wire import api, run, running, status, until
from tfmodel_operator.cluster import events


def event(note="it serves", version="7", **given):
    one = body()
    one["metadata"]["resourceVersion"] = version
    return events.event(one, "Normal", given.get("reason", "AsDesired"), note, "operator-1")


def test_an_event_says_what_about_whom():
    made = event()
    assert made["metadata"]["namespace"] == "ml"
    assert made["metadata"]["name"].startswith("half.")
    assert made["regarding"] == {
        "apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModel", "namespace": "ml", "name": "half",
        "uid": body()["metadata"]["uid"], "resourceVersion": "7",
    }  # fmt: skip
    assert (made["type"], made["reason"], made["note"], made["action"]) == ("Normal", "AsDesired", "it serves", "Reconcile")
    assert event("x" * 5000)["note"] == "x" * 1024
    assert event("x" + "é" * 5000)["note"] == "x" + "é" * 511, "the API server counts bytes, and takes no half characters"


def test_the_same_news_has_the_same_name_and_is_posted_once():
    assert event()["metadata"] == event()["metadata"]
    assert len({one["metadata"]["name"] for one in (event(), event("else"), event(version="8"), event(reason="Other"))}) == 4


def test_nothing_waits_for_events_and_none_of_them_ends_anything():
    async def test():
        posted, answers = [], [status(409), status(403), status(503), web.json_response({})]

        async def answer(request):
            posted.append(json.loads(await request.text())["note"])
            return answers.pop(0) if answers else web.json_response({})

        async with api(answer) as client:
            recorder = events.Recorder(client, "operator-1")
            for number in range(events.WAITING + 100):
                recorder.record(body(), "Warning", "SomeReason", f"news {number}")
            async with running(recorder.run()) as (task,):
                await until(lambda: len(posted) == events.WAITING)
                await asyncio.sleep(0.05)
                assert not task.done()
        assert posted[:5] == [f"news {number}" for number in range(5)]

    run(test)

