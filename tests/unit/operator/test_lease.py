"""The election, against an API server that keeps one Lease as Kubernetes does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

import pytest
from aiohttp import web

from tests.unit.operator.wire import api, run, running, status, until
from tfmodel_operator.cluster.lease import Elector, LeaseLost, Timing

QUICK = Timing(lease=2, deadline=1.3, renew=0.3, retry=0.05)


class Leases:
    """One Lease with its resource version; ``out`` makes it answer nothing to some, or to all (None)."""

    def __init__(self):
        self.stored, self.versions, self.writes, self.out = None, itertools.count(1), [], set()

    async def __call__(self, request):
        body = json.loads(await request.read() or "{}")
        who = body.get("spec", {}).get("holderIdentity")
        if None in self.out or (who and who in self.out):
            return status(503)
        if request.method == "GET":
            return web.json_response(self.stored) if self.stored else status(404)
        if request.method == "POST" and self.stored:
            return status(409)
        if request.method == "PUT" and body["metadata"].get("resourceVersion") != self.stored["metadata"]["resourceVersion"]:
            return status(409)
        body["metadata"] |= {"resourceVersion": str(next(self.versions)), "uid": "lease"}
        self.stored = body
        self.writes.append(who)
        return web.json_response(body)


@contextlib.asynccontextmanager
async def electors(*identities):
    leases = Leases()
    async with api(leases) as client:
        yield leases, [Elector(client, "system", "tfmodel-operator", identity, QUICK) for identity in identities]


def test_one_leads_the_other_waits_and_takes_over_when_it_is_released():
    async def test():
        async with electors("a", "b") as (leases, (a, b)):
            await a.acquire()
            async with running(a.keep(), b.acquire()) as (keeping, waiting):
                await until(lambda: len(leases.writes) > 8)  # the lease would have run out long ago
                assert not waiting.done()
                assert set(leases.writes) == {"a"}
                keeping.cancel()
                await a.release()
                await asyncio.wait_for(waiting, 1.5)
        assert leases.writes[-2:] == ["", "b"]
        assert leases.stored["spec"]["leaseTransitions"] == 1

    run(test)


def test_the_lease_of_one_that_died_is_free_when_it_has_run_out_by_the_clock_of_the_one_who_waits():
    async def test():
        async with electors("a", "b") as (leases, (a, b)):
            await a.acquire()
            leases.stored["spec"]["renewTime"] = "2099-01-01T00:00:00.000000Z"  # its clock is wrong
            began = asyncio.get_running_loop().time()
            await b.acquire()
            assert QUICK.lease <= asyncio.get_running_loop().time() - began < 2 * QUICK.lease

    run(test)


def test_one_that_comes_back_by_the_same_name_has_its_lease_at_once():
    async def test():
        async with electors("a", "a") as (_, (a, again)):
            await a.acquire()
            await asyncio.wait_for(again.acquire(), 0.5)

    run(test)


def test_who_cannot_renew_ceases_to_hold_before_another_may_take_it_and_ends_when_one_has():
    async def test():
        async with electors("a", "b") as (leases, (a, b)):
            await a.acquire()
            leases.out.add("a")
            keeping = asyncio.create_task(a.keep())
            async with running(b.acquire()) as (taking,):
                await until(lambda: not a.holds())
                assert not taking.done()
                await taking
                assert b.holds()
                assert not keeping.done()
                leases.out.clear()
                with pytest.raises(LeaseLost, match="held by b"):
                    await keeping
            assert not a.holds()

    run(test)


def test_an_api_server_that_was_away_for_long_leaves_the_lease_to_who_had_it():
    async def test():
        async with electors("a") as (leases, (a,)):
            await a.acquire()
            leases.out.add(None)
            regained = []
            async with running(a.keep(lambda: regained.append(a.holds()))):
                await until(lambda: not a.holds())
                await asyncio.sleep(0.5)
                leases.out.clear()
                await until(lambda: regained == [True])
                await until(lambda: len(leases.writes) > 3)

    run(test)


def test_who_waits_does_not_count_the_time_in_which_nobody_could_look():
    async def test():
        async with electors("a", "b") as (leases, (a, b)):
            await a.acquire()
            async with running(b.acquire()) as (waiting,):
                await until(lambda: b._looked > 0)
                leases.out.add(None)
                await asyncio.sleep(2 * QUICK.lease)
                leases.out.clear()
                looked = b._looked
                await until(lambda: b._looked > looked)  # it is the first to be back
                assert not waiting.done()
                async with running(a.keep()):
                    await until(lambda: len(leases.writes) > 8)
                    assert set(leases.writes) == {"a"}
                    assert not waiting.done()

    run(test)


def test_who_finds_another_holder_has_lost():
    async def test():
        async with electors("a") as (leases, (a,)):
            await a.acquire()
            leases.stored["spec"]["holderIdentity"] = "b"
            leases.stored["metadata"]["resourceVersion"] = "99"
            with pytest.raises(LeaseLost, match="held by b"):
                await a.keep()

    run(test)


def test_a_renewal_whose_answer_was_lost_is_no_loss():
    async def test():
        async with electors("a") as (leases, (a,)):
            await a.acquire()
            leases.stored["metadata"]["resourceVersion"] = "99"  # the write arrived, its answer didn't
            async with running(a.keep()):
                await until(lambda: len(leases.writes) > 3)

    run(test)


def test_an_api_server_that_is_away_for_less_than_the_deadline_is_no_loss():
    async def test():
        async with electors("a") as (leases, (a,)):
            await a.acquire()
            async with running(a.keep()):
                leases.out.add(None)
                await asyncio.sleep(0.3)
                leases.out.clear()
                await until(lambda: len(leases.writes) > 3)

    run(test)


def test_of_many_who_try_at_once_one_gets_it():
    async def test():
        async with electors(*"abcdefgh") as (leases, those):
            async with running(*(one.acquire() for one in those)) as tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0.3)
                assert [task.done() for task in tasks].count(True) == 1
            assert len(leases.writes) == 1

    run(test)


def test_releasing_what_is_not_ours_changes_nothing():
    async def test():
        async with electors("a", "b") as (leases, (a, b)):
            await a.acquire()
            await b.release()
            assert leases.writes == ["a"]

    run(test)


def test_a_renewal_that_was_broken_off_does_not_keep_the_lease_from_being_released():
    async def test():
        async with electors("a") as (leases, (a,)):
            await a.acquire()
            leases.stored["metadata"]["resourceVersion"] = str(next(leases.versions))  # written, and the answer not waited for
            await a.release()
        assert leases.stored["spec"]["holderIdentity"] == ""

    run(test)


def test_a_lease_that_somebody_else_has_taken_meanwhile_is_not_released():
    async def test():
        async with electors("a") as (leases, (a,)):
            await a.acquire()
            theirs = {"resourceVersion": str(next(leases.versions)), "uid": "lease"}
            leases.stored = {**leases.stored, "metadata": theirs, "spec": {**leases.stored["spec"], "holderIdentity": "b"}}
            await a.release()
        assert leases.stored["spec"]["holderIdentity"] == "b"

    run(test)
