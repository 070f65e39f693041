from __future__ import annotations

import asyncio

from tfmodel_operator.workqueue import WorkQueue


def run(test):
    async def bounded():
        async with asyncio.timeout(10):
            await test()

    asyncio.run(bounded())


async def until(condition):
    while not condition():  # noqa: ASYNC110 the queue under test has no event to wait for
        await asyncio.sleep(0.001)


def test_a_key_waits_once_and_runs_again_if_it_was_added_while_it_ran():
    async def test():
        queue, runs, release = WorkQueue(), [], asyncio.Event()

        async def do(key):
            runs.append(key)
            await release.wait()

        for _ in range(3):
            queue.add("a")
        worker = asyncio.create_task(queue.work(do))
        await until(lambda: runs)
        queue.add("a")
        queue.add("a")
        assert runs == ["a"]
        release.set()
        await until(lambda: len(runs) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert runs == ["a", "a"]
        worker.cancel()

    run(test)


def test_a_key_never_runs_twice_at_the_same_time():
    async def test():
        queue, running, most, total = WorkQueue(), 0, 0, 0

        async def do(key):
            nonlocal running, most, total
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            total += 1
            if total < 50:
                queue.add("a")

        workers = [asyncio.create_task(queue.work(do)) for _ in range(4)]
        queue.add("a")
        await until(lambda: total >= 50)
        assert most == 1
        for worker in workers:
            worker.cancel()

    run(test)


def test_an_earlier_delay_wins_and_an_add_cancels_the_delay():
    async def test():
        queue, runs = WorkQueue(), []

        async def do(key):
            runs.append(key)

        worker = asyncio.create_task(queue.work(do))
        queue.add_after("late", 3600)
        queue.add_after("late", 0.01)
        queue.add_after("late", 3600)
        queue.add_after("soon", 3600)
        queue.add("soon")
        await until(lambda: len(runs) == 2)
        assert sorted(runs) == ["late", "soon"]
        worker.cancel()

    run(test)


def test_failures_back_off_and_success_forgets_them():
    async def test():
        queue = WorkQueue()
        for most in (0.5, 1, 2, 4, 8, 16, 32, 60, 60):
            assert 0.75 * most <= queue.retry("a") <= most
        queue.forget("a")
        assert queue.retry("a") <= 0.5

    run(test)


def test_a_closed_queue_begins_nothing_new_and_lets_what_runs_end():
    async def test():
        queue, began, ended, release = WorkQueue(), [], [], asyncio.Event()

        async def do(key):
            began.append(key)
            await release.wait()
            ended.append(key)

        workers = [asyncio.create_task(queue.work(do)) for _ in range(3)]
        queue.add("a")
        queue.add("b")
        await until(lambda: len(began) == 2)
        queue.add("a")
        queue.close()
        queue.add("c")
        release.set()
        await asyncio.gather(*workers)
        assert (sorted(began), sorted(ended)) == (["a", "b"], ["a", "b"])

    run(test)


def test_what_failed_is_tried_at_once_when_its_reason_is_over():
    async def test():
        queue, runs = WorkQueue(), []

        async def do(key):
            runs.append(key)

        for _ in range(2000):  # an API server that was away for a day
            assert queue.retry("a") <= WorkQueue.BACKOFF_SECONDS[1]
        queue.retry_now()
        worker = asyncio.create_task(queue.work(do))
        await until(lambda: runs == ["a"])
        worker.cancel()

    run(test)


def test_a_key_on_which_others_wait_overtakes_them_but_not_those_that_have_waited_long():
    async def test():
        queue = WorkQueue[str](lambda key: key.startswith("first"))
        queue.HEAD_START = 3
        for key in ("a", "b", "c", "d", "first-1", "e", "first-2"):
            queue.add(key)
        done = []

        async def do(key):
            done.append(key)
            if len(done) == 7:
                queue.close()

        await queue.work(do)
        assert done == ["a", "b", "first-1", "c", "d", "first-2", "e"]

    asyncio.run(test())
