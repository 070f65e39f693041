from __future__ import annotations

import asyncio

from tests.unit.operator.wire import api, page, run, status
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster.strangers import Strangers

OWNERS = {"lost": {"ownerReferences": [{"uid": "other"}, {"uid": "mine", "controller": True}]}}


class Services:
    def __init__(self, *taken):
        self.taken, self.asked = taken, []

    async def __call__(self, request):
        self.asked.append((request.path, request.query["labelSelector"], "PartialObjectMetadataList" in request.headers["Accept"]))
        await asyncio.sleep(0.01)
        return page([{"metadata": {"name": name, **OWNERS.get(name, {})}} for name in self.taken], 1)


def test_one_list_answers_for_all_who_were_waiting_for_it():
    async def test():
        services = Services("lost", "yours")
        async with api(services) as client:
            strangers = Strangers(client)
            since = asyncio.get_running_loop().time()
            names = ["yours", "half", "lost"] * 20
            found = await asyncio.gather(*(strangers.controller(kinds.SERVICE, "ml", name, since) for name in names))
            assert found == ["", None, "mine"] * 20
            assert services.asked == [("/api/v1/namespaces/ml/services", "!serving.tfmodel.dev/server", True)]

    run(test)


def test_what_was_listed_before_one_knew_that_a_name_is_needed_is_not_believed():
    async def test():
        services = Services()
        async with api(services) as client:
            strangers = Strangers(client)
            now = asyncio.get_running_loop().time
            assert await strangers.controller(kinds.SERVICE, "ml", "half", now()) is None
            services.taken = ("half",)
            assert await strangers.controller(kinds.SERVICE, "ml", "half", now()) == ""
            assert await strangers.controller(kinds.CONFIG_MAP, "ml", "half-models", 0) is None
            assert await strangers.controller(kinds.SERVICE, "elsewhere", "other", 0) is None

    run(test)


def test_a_list_that_is_old_is_taken_anew_and_then_forgotten():
    async def test():
        services = Services()
        async with api(services) as client:
            strangers = Strangers(client)
            strangers.KEPT_SECONDS = 0.05
            for namespace in ("a", "a", "b"):
                await strangers.controller(kinds.SERVICE, namespace, "half", 0)
                await asyncio.sleep(0.06)
            assert len(services.asked) == 3
            assert {namespace for _, namespace in strangers._names} == {"b"}

    run(test)


def test_a_list_that_fails_lets_the_next_one_try():
    async def test():
        failures = [503]

        async def answer(request):
            return status(failures.pop()) if failures else page([], 1)

        async with api(answer) as client:
            strangers = Strangers(client)
            found = await asyncio.gather(*(strangers.controller(kinds.SERVICE, "ml", "half", 0) for _ in range(3)), return_exceptions=True)
            assert [isinstance(one, Exception) for one in found] == [True, False, False]

    run(test)
