"""The client's own behaviour; what the API server makes of its requests is tried in tests/api."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from tests.unit.operator.wire import Nobody, api, run, serving, status
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import backoff, errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.rate_limit import RateLimit

MANIFEST = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "ml", "name": "half"}}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, errors.Rejected),
        (403, errors.Rejected),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (410, errors.Gone),
        (422, errors.Rejected),
        (401, errors.Unavailable),
        (429, errors.Unavailable),
        (500, errors.Unavailable),
        (504, errors.Unavailable),
    ],
)
def test_every_answer_is_one_kind_of_error_with_the_servers_words(code, error):
    async def test():
        async with api(lambda _: answer()) as client:
            with pytest.raises(error, match="it is so") as raised:
                await client.apply(MANIFEST)
            assert raised.value.status == code

    async def answer():
        return status(code, "it is so", **{"Retry-After": "0"})

    run(test)


@pytest.mark.parametrize("text", ["<html>bad gateway</html>", "", "[1]", '"x"'])
def test_an_answer_that_is_no_status_is_an_error_all_the_same(text):
    async def test():
        async with api(lambda _: answer()) as client:
            with pytest.raises(errors.Unavailable):
                await client.get(kinds.DEPLOYMENT, "ml", "half")

    async def answer():
        return web.Response(status=502, text=text)

    run(test)


@pytest.mark.parametrize("text", ["<html>down for maintenance</html>", "", "[1]", '{"items": [', "\n"])
def test_an_answer_that_says_yes_and_is_no_object_is_no_answer(text):
    async def test():
        async with api(lambda _: answer()) as client:
            with pytest.raises(errors.Unavailable, match="can't be read"):
                await client.get(kinds.DEPLOYMENT, "ml", "half")
            with pytest.raises(errors.Unavailable, match="can't be read"):
                await anext(client.watch(kinds.POD, "ml", "", "1", seconds=5, inactivity_seconds=5))

    async def answer():
        return web.Response(text=f"{text}\n")

    run(test)


def test_only_the_very_object_that_was_seen_is_deleted():
    seen = []

    async def answer(request):
        seen.append((request.method, request.path, (await request.json())["preconditions"]))
        return web.json_response({})

    async def test():
        async with api(answer) as client:
            await client.delete(kinds.DEPLOYMENT, {"metadata": {**MANIFEST["metadata"], "uid": "u", "resourceVersion": "7"}})

    run(test)
    assert seen == [("DELETE", "/apis/apps/v1/namespaces/ml/deployments/half", {"uid": "u", "resourceVersion": "7"})]


def test_a_dry_run_says_so_and_nothing_else_is_different():
    seen = []

    async def answer(request):
        seen.append((request.method, request.path, dict(request.query), request.content_type, json.loads(await request.text())))
        return web.json_response(MANIFEST)

    async def test():
        async with api(answer) as client:
            await client.apply(MANIFEST, dry_run=True)
            await client.apply(MANIFEST)

    run(test)
    path, query = "/apis/apps/v1/namespaces/ml/deployments/half", {"fieldManager": "tfmodel-operator", "force": "true"}
    assert seen == [
        ("PATCH", path, {**query, "dryRun": "All"}, "application/apply-patch+yaml", MANIFEST),
        ("PATCH", path, query, "application/apply-patch+yaml", MANIFEST),
    ]


def test_no_answer_is_unavailable_and_counted():
    counted = []

    async def test():
        async with serving(lambda _: None) as url:
            pass  # nobody listens there any more
        client = ApiClient(lambda: Nobody(url), RateLimit(100, 100), lambda verb, code: counted.append((verb, code)))
        with pytest.raises(errors.Unavailable, match="GET /api/v1/namespaces/ml/pods/half"):
            await client.get(kinds.POD, "ml", "half")
        await client.close()

    run(test)
    assert counted == [("get", 0)]


def test_credentials_are_asked_again_when_they_are_refused():
    async def test():
        asked, codes = [], [401, 200]

        async def answer(_):
            code = codes.pop(0)
            return status(code) if code != 200 else web.json_response(MANIFEST)

        async with serving(answer) as url:
            client = ApiClient(lambda: asked.append(1) or Nobody(url), RateLimit(100, 100))
            with pytest.raises(errors.Unavailable):
                await client.get(kinds.POD, "ml", "half")
            await client.get(kinds.POD, "ml", "half")
            await client.close()
        assert len(asked) == 2

    run(test)


def test_calls_are_spread_over_time_beyond_the_burst():
    async def test():
        limit, clock = RateLimit(qps=100, burst=10), asyncio.get_running_loop().time
        began = clock()
        await asyncio.gather(*(limit.wait() for _ in range(30)))
        assert 0.15 < clock() - began < 2

    run(test)


def test_an_api_server_that_asks_for_a_pause_gets_it():
    async def test():
        limit, clock = RateLimit(qps=1000, burst=1000), asyncio.get_running_loop().time
        limit.pause(0.2)
        began = clock()
        await limit.wait()
        assert clock() - began > 0.15
        limit.pause(1e9)
        assert limit._free_at - clock() <= RateLimit.PAUSE_SECONDS

    run(test)


def test_all_wait_for_as_long_as_an_answer_says():
    async def test():
        async with api(lambda _: answer()) as client:
            clock = asyncio.get_running_loop().time
            with pytest.raises(errors.Unavailable):
                await client.get(kinds.POD, "ml", "half")
            began = clock()
            with pytest.raises(errors.Unavailable):
                await client.get(kinds.POD, "ml", "other")
            assert clock() - began > 0.15

    async def answer():
        return status(429, **{"Retry-After": "0.2"})

    run(test)


def test_delays_grow_to_their_limit_and_never_end():
    found = [delay for delay, _ in zip(backoff.delays(0.5, 10), range(5000), strict=False)]
    assert 0.3 < found[0] < 0.7
    assert all(7 < delay < 13 for delay in found[10:])
    endless = iter(backoff.Endless(1, 10))
    assert [0 < next(endless) < 20 for _ in range(2000)] == [True] * 2000


def test_a_session_sends_no_cookies_and_follows_no_environment():
    async def test():
        async with api(lambda _: answer()) as client:
            await client.get(kinds.POD, "ml", "half")
            assert isinstance(client._session.cookie_jar, aiohttp.DummyCookieJar)
            assert not client._session.trust_env

    async def answer():
        response = web.json_response(MANIFEST)
        response.set_cookie("a", "b")
        return response

    run(test)


@pytest.mark.parametrize("value", ["half \ud83d", 2**70, {1: "one"}])
def test_what_only_the_api_server_can_judge_is_sent_to_it(value):
    received = []

    async def answer(request):
        received.append(json.loads(await request.text())["spec"])
        return web.json_response({})

    async def test():
        async with api(answer) as client:
            await client.apply({**MANIFEST, "spec": value})

    run(test)
    assert received == [json.loads(json.dumps(value))]
