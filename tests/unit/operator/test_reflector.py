"""The reflector, against an API server that behaves as badly as one may."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.operator.test_store import KEY, child
from tests.unit.operator.wire import api, page, run, running, status, stream, until
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster.feed import Feed
from tfmodel_operator.cluster.reflector import HistoryRewritten, Reflector
from tfmodel_operator.cluster.store import Store


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(Reflector, "RETRY_SECONDS", (0.01, 0.02))


class Pods:
    """The pods collection: one answer after the other, from a script; the last one again and again."""

    def __init__(self, *script):
        self.script, self.asked, self.keys = list(script), [], []
        self.store = Store()
        self.feed = Feed(self.store, self.keys.append)

    async def __call__(self, request):
        self.asked.append(dict(request.query))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await answer(request)

    def names(self):
        return [pod["metadata"]["name"] for pod in self.store.children(KEY).pods]

    def reflector(self, client, **given):
        return Reflector(client, self.feed, kinds.POD, **given)


def listing(*items, version=10, more=""):
    async def answer(_):
        return page(list(items), version, more)

    return answer


def watch(*events, until=None):
    return lambda request: stream(request, *events, until=until)


def failing(code, **headers):
    async def answer(_):
        return status(code, **headers)

    return answer


def event(what, name="half-1", version=11, uid="u"):
    return what, child("Pod", name, version=version, uid=uid)


def bookmark(version):
    return "BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}}


def test_it_lists_page_by_page_and_watches_from_there():
    async def test():
        end = asyncio.Event()
        pods = Pods(
            listing(child("Pod", "half-1", uid="1"), more="1"),
            listing(child("Pod", "half-2", uid="2", version=9)),
            watch(event("ADDED", "half-3", 11), event("DELETED", "half-1", 12, "1"), bookmark(20)),
            watch(until=end),
        )
        async with api(pods) as client:
            reflector = pods.reflector(client)
            async with running(reflector.run()):
                await until(lambda: len(pods.asked) == 4)
                end.set()
        assert pods.names() == ["half-2", "half-3"]
        assert [("continue" in one, one.get("resourceVersion")) for one in pods.asked] == [
            (False, None), (True, None), (False, "10"), (False, "20"),
        ]  # fmt: skip
        assert all(one["labelSelector"] == "serving.tfmodel.dev/server" for one in pods.asked)
        assert pods.asked[2]["allowWatchBookmarks"] == "true"
        assert 300 <= int(pods.asked[2]["timeoutSeconds"]) <= 600
        assert reflector.synced.is_set()

    run(test)


def gone(code=410):
    return watch(("ERROR", {"kind": "Status", "code": code, "message": "too old resource version"}))


@pytest.mark.parametrize("lost", [pytest.param(gone(), id="an ERROR event"), pytest.param(failing(410), id="410 at once")])
def test_what_was_deleted_in_a_gap_is_found_by_the_list_that_follows(lost):
    async def test():
        end = asyncio.Event()
        first = [child("Pod", "half-1", uid="1"), child("Pod", "half-2", uid="2")]
        pods = Pods(listing(*first), lost, listing(first[1], version=30), watch(until=end))
        async with api(pods) as client, running(pods.reflector(client).run()):
            await until(lambda: len(pods.asked) == 4)
            assert pods.names() == ["half-2"]
            end.set()
        assert pods.keys == [KEY] * 3  # two came, one went; what stayed as it was is no news

    run(test)


def test_a_list_whose_history_is_lost_in_the_middle_begins_anew():
    async def test():
        end = asyncio.Event()
        pods = Pods(
            listing(child("Pod", "half-1", uid="1"), more="1"),
            failing(410),
            listing(child("Pod", "half-2", uid="2"), version=12),
            watch(until=end),
        )
        async with api(pods) as client, running(pods.reflector(client).run()):
            await until(lambda: len(pods.asked) == 4)
            end.set()
        assert pods.names() == ["half-2"]

    run(test)


@pytest.mark.parametrize("answer", [failing(500), failing(503), failing(401), gone(500), failing(429, **{"Retry-After": "0"})])
def test_a_watch_that_fails_goes_on_where_it_was(answer):
    async def test():
        end, recovered = asyncio.Event(), []
        pods = Pods(listing(), watch(event("ADDED", version=15)), answer, answer, watch(bookmark(16), until=end))
        async with api(pods) as client, running(pods.reflector(client, recovered=lambda: recovered.append(1)).run()):
            await until(lambda: recovered)
            end.set()
        assert [one.get("resourceVersion") for one in pods.asked] == [None, "10", "15", "15", "15"]
        assert (pods.names(), recovered) == (["half-1"], [1])

    run(test)


def test_a_watch_that_ends_as_soon_as_it_begins_is_not_asked_in_a_hot_loop():
    async def test():
        pods = Pods(listing(), watch())
        async with api(pods) as client, running(pods.reflector(client).run()):
            await asyncio.sleep(0.3)
        assert 3 < len(pods.asked) < 60

    run(test)


def test_a_watch_that_has_gone_silent_is_taken_up_again():
    async def test():
        end = asyncio.Event()
        pods = Pods(listing(), watch(bookmark(12), until=end), watch(event("ADDED", version=13), until=end))
        async with api(pods) as client, running(pods.reflector(client, inactivity_seconds=0.2).run()):
            await until(pods.names)
            end.set()
        assert [one.get("resourceVersion") for one in pods.asked][:3] == [None, "10", "12"]

    run(test)


def test_an_api_server_that_is_away_is_waited_for():
    async def test():
        end = asyncio.Event()
        pods = Pods(*[failing(503)] * 20, failing(403), listing(child("Pod", "half-1")), watch(until=end))
        async with api(pods) as client:
            reflector = pods.reflector(client)
            async with running(reflector.run()):
                assert not reflector.synced.is_set()
                await reflector.synced.wait()
                end.set()
        assert pods.names() == ["half-1"]

    run(test)


def test_resource_versions_that_go_back_end_everything():
    async def test():
        pods = Pods(listing(version=1000), gone(), listing(version=5))
        async with api(pods) as client:
            with pytest.raises(HistoryRewritten, match="pods are listed at version 5 after 1000"):
                await pods.reflector(client).run()

    run(test)


def test_an_object_of_any_size_comes_through():
    async def test():
        end, large = asyncio.Event(), "x" * 3_000_000
        body = child("Pod", "half-1", version=11, metadata={}) | {"status": {"message": large}}
        body["metadata"] = child("Pod", "half-1", version=11)["metadata"]
        pods = Pods(listing(), watch(("ADDED", body), until=end))
        async with api(pods) as client, running(pods.reflector(client).run()):
            await until(pods.names)
            end.set()
        assert pods.store.children(KEY).pods[0]["status"]["message"] == large

    run(test)


def test_a_namespace_that_is_refused_is_no_empty_one():
    async def test():
        pods = Pods(listing(child("Pod", "half-1", uid="1")), watch(), failing(403), failing(403))
        async with api(pods) as client:
            reflector = pods.reflector(client, namespace="ml")
            async with running(reflector.run()):
                await until(lambda: reflector.refused)
                assert pods.names() == ["half-1"], "it may well be there"
                pods.script[:] = [listing(version=30)]
                await until(lambda: not reflector.refused)
                assert pods.names() == []

    run(test)


@pytest.mark.parametrize("namespace", ["ml", None])
def test_a_namespace_that_is_refused_is_waited_for_by_nobody_but_the_whole_cluster_is(namespace):
    async def test():
        pods = Pods(failing(403))
        async with api(pods) as client:
            reflector = pods.reflector(client, namespace=namespace)
            async with running(reflector.run()):
                await until(lambda: len(pods.asked) > 2)
            assert reflector.answered.is_set() == (namespace is not None) == bool(reflector.refused)
            assert not reflector.synced.is_set()

    run(test)
