"""The sweep, against an API server that lists TFModels while kopf (played by the test) tells of them, or doesn't."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.operator.makers import body
from tests.unit.operator.wire import api, page, run, running, status, until
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster.feed import Feed
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.cluster.sweep import Sweep


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    for name, seconds in {"DEBOUNCE_SECONDS": 0.02, "GRACE_SECONDS": 0.1, "FILL_SECONDS": 0.005, "INTERVAL_SECONDS": 60}.items():
        monkeypatch.setattr(Sweep, name, seconds)


def tfmodel(name, version=1):
    one = body(name)
    one["metadata"] |= {"uid": name, "resourceVersion": str(version)}
    return one


class Models:
    """What exists, as of some version; ``asked`` are the lists by whether they were of metadata only."""

    def __init__(self, *existing, version=10):
        self.existing, self.version, self.asked, self.failures, self.keys = list(existing), version, [], 0, []
        self.refused = set()
        self.feed = Feed(Store(), self.keys.append)

    async def __call__(self, request):
        if self.failures:
            self.failures -= 1
            return status(503)
        if request.path.split("/")[-2] in self.refused:
            return status(403, "tfmodels is forbidden")
        metadata_only = "PartialObjectMetadataList" in request.headers["Accept"]
        self.asked.append("metadata" if metadata_only else "whole")
        parts = ("metadata",) if metadata_only else ("metadata", "spec")
        return page([{part: one[part] for part in parts} for one in self.existing], self.version)

    def tell(self, *those):
        for one in those:
            self.feed.upsert(kinds.MODEL, one)

    def names(self):
        return sorted(name for _, name in self.feed.store.models())


def test_synced_is_when_all_that_exist_were_told():
    async def test():
        models = Models(tfmodel("a"), tfmodel("b", version=7))
        async with api(models) as client:
            sweep = Sweep(client, models.feed, [None])
            async with running(sweep.run()):
                models.tell(tfmodel("a"))
                await until(lambda: models.asked)
                models.tell(tfmodel("b", version=6))
                await asyncio.sleep(0.03)
                assert not sweep.synced.is_set(), "b is known as it was, not as it is"
                models.tell(tfmodel("b", version=7))
                await sweep.synced.wait()
        assert models.asked == ["metadata"]

    run(test)


def test_what_is_never_told_is_fetched():
    async def test():
        models = Models(tfmodel("a"), tfmodel("b"))
        async with api(models) as client:
            sweep = Sweep(client, models.feed, [None])
            async with running(sweep.run()):
                models.tell(tfmodel("a"))
                await sweep.synced.wait()
        assert (models.asked, models.names()) == (["metadata", "whole"], ["a", "b"])
        assert models.keys == [("ml", "a"), ("ml", "b")]

    run(test)


def test_what_was_deleted_without_a_word_goes_when_a_watch_has_begun_anew():
    async def test():
        models = Models(tfmodel("a"), tfmodel("b"))
        async with api(models) as client:
            sweep = Sweep(client, models.feed, [None])
            async with running(sweep.run()):
                models.tell(*models.existing)
                await sweep.synced.wait()
                models.existing, models.version = [tfmodel("b")], 20
                models.tell(tfmodel("younger", version=30))
                for _ in range(50):
                    sweep.soon()
                await until(lambda: models.names() == ["b", "younger"])
        assert models.asked == ["metadata"] * 2, "fifty words are one sweep"
        assert models.keys[-1] == ("ml", "a")

    run(test)


def test_an_api_server_that_is_away_keeps_nothing_from_being_synced_later():
    async def test():
        models = Models(tfmodel("a"))
        models.failures = 2
        models.tell(tfmodel("a"))
        async with api(models) as client:
            sweep = Sweep(client, models.feed, [None])
            finished = sweep.finished
            async with running(sweep.run()):
                await until(lambda: models.failures == 0)
                await sweep.synced.wait()
            assert sweep.finished > finished

    run(test)


def test_a_namespace_that_is_refused_keeps_none_of_the_others_from_being_synced(monkeypatch):
    monkeypatch.setattr(Sweep, "REFUSED_SECONDS", 0.02)

    async def test():
        models = Models(tfmodel("a"))
        models.refused.add("gone")
        async with api(models) as client:
            sweep = Sweep(client, models.feed, ["gone", "ml"])
            async with running(sweep.run()):
                models.tell(tfmodel("a"))
                await sweep.synced.wait()
                assert sweep.refused == {"gone": "tfmodels is forbidden"}
                models.refused, models.existing = {"ml"}, []
                await until(lambda: set(sweep.refused) == {"ml"})
                assert models.names() == ["a"], "nothing is known of it any more, not that it is gone"
                models.refused = set()
                await until(lambda: not sweep.refused)
                assert models.names() == []

    run(test)


def test_where_every_namespace_is_refused_nothing_is_synced():
    async def test():
        models = Models()
        models.refused |= {"one", "two"}
        async with api(models) as client:
            sweep = Sweep(client, models.feed, ["one", "two"])
            finished = sweep.finished
            async with running(sweep.run()):
                await until(lambda: sweep.finished > finished)
            assert not sweep.synced.is_set()
            assert not sweep.listed.is_set()

    run(test)


def test_a_namespace_is_refused_until_what_is_in_it_has_been_told():
    async def test():
        models = Models(tfmodel("a"))
        async with api(models) as client:
            sweep = Sweep(client, models.feed, ["gone", "ml"])
            sweep.refused = {"ml": "forbidden"}
            async with running(sweep.run()):
                await until(lambda: models.asked == ["metadata"] * 2)
                await asyncio.sleep(0.03)
                assert sweep.refused, "a server whose models aren't all known yet would seem to have lost some"
                await until(lambda: not sweep.refused)
        assert models.names() == ["a"]

    run(test)
