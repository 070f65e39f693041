"""One comparison, with a model server faked at the transport."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from tests import savedmodels
from tests.savedmodels import predict_record
from tests.unit.agent.prediction_server import PredictionServer, Refusal, line
from tfmodel_agent import compare
from tfmodel_serving import warmup

PROMOTED, CANDIDATE = compare.Side("half", 1), compare.Side("half--candidate", 2)


@pytest.fixture
def volume(tmp_path):
    """A base path with version 2, which has a warmup file."""
    (tmp_path / "half/2").mkdir(parents=True)
    return tmp_path / "half"


def warm(volume, *records):
    return savedmodels.write_warmup(volume / "2", [one if isinstance(one, bytes) else predict_record(x=one) for one in records])


def run(volume, answer, told=None):
    """Compare, and return the result with the server."""

    async def scene():
        server = PredictionServer(answer)
        async with server.running() as address:
            job = compare.Job(PROMOTED, CANDIDATE, str(volume), "2")
            return await compare.compare(address, job, [].append if told is None else told), server

    return asyncio.run(scene())


def test_both_are_asked_by_their_name_and_version(volume):
    warm(volume, [1.0, 2.0], [3.0])
    found, server = run(volume, line)
    assert [one[:2] for one in server.asked] == [("half", 1), ("half--candidate", 2)] * 2
    assert (found.version, found.against, found.records, found.failures, found.message, found.note) == (2, 1, 2, 0, "", "")
    assert [(one.name, one.max_absolute) for one in found.outputs] == [("y", 0.5)]


def test_there_is_one_request_at_a_time_and_three_times_as_long_a_pause(volume):
    warm(volume, *([1.0] for _ in range(10)))

    async def slowly(model, version, x):
        await asyncio.sleep(0.01)
        return line(model, version, x)

    _, server = run(volume, slowly)
    assert server.most_under_way == 1
    pairs = list(zip(server.asked[::2], server.asked[1::2], strict=True))
    for (one, other), (following, _) in itertools.pairwise(pairs):
        assert following[2] - other[3] >= compare.PAUSE_FACTOR * (other[3] - one[2])


@pytest.mark.parametrize("refusal", [Refusal("UNAVAILABLE", "queue is full"), Refusal("NOT_FOUND", "Servable not found for request: Specific(half, 2)")])
def test_a_busy_server_is_asked_again(volume, monkeypatch, refusal):
    monkeypatch.setattr(compare, "BUSY_PAUSES", (0.0, 0.0))
    warm(volume, [1.0])
    refusals = [refusal, refusal]

    def answer(model, version, x):
        if version == 2 and refusals:
            raise refusals.pop()
        return line(model, version, x)

    found, _ = run(volume, answer)
    assert (found.records, found.failures) == (1, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_a_server_that_stays_busy_interrupts_the_comparison(volume, monkeypatch, version):
    monkeypatch.setattr(compare, "BUSY_PAUSES", (0.0, 0.0))
    warm(volume, [1.0], [1.0])

    def answer(model, asked, x):
        if asked == version:
            raise Refusal("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
        return line(model, asked, x)

    with pytest.raises(compare.Interrupted, match=f"record 1: version {version}: RESOURCE_EXHAUSTED: Server Threadpool Exhausted"):
        run(volume, answer)


def test_a_server_that_is_gone_interrupts_the_comparison(volume, monkeypatch):
    monkeypatch.setattr(compare, "BUSY_PAUSES", (0.0,))
    warm(volume, [1.0])
    with pytest.raises(compare.Interrupted, match="record 1: version 1: UNAVAILABLE"):
        asyncio.run(compare.compare("127.0.0.1:1", compare.Job(PROMOTED, CANDIDATE, str(volume), "2"), [].append))


def test_a_candidate_that_does_not_answer_in_time_has_failed(volume, monkeypatch):
    monkeypatch.setattr(compare, "REQUEST_SECONDS", 0.2)
    warm(volume, [1.0], [2.0])

    async def answer(model, version, x):
        if version == 2 and x == [1.0]:
            await asyncio.sleep(10)
        return line(model, version, x)

    found, _ = run(volume, answer)
    assert (found.records, found.failures) == (1, 1)
    assert found.message.startswith("record 1: version 2: DEADLINE_EXCEEDED")


def test_a_candidate_is_not_asked_what_the_baseline_can_not_answer(volume):
    warm(volume, [1.0], [2.0])

    def answer(model, version, x):
        if x == [1.0]:
            raise Refusal("INVALID_ARGUMENT", "x\x00is\nodd")
        return line(model, version, x)

    found, server = run(volume, answer)
    assert (found.records, found.failures) == (1, 0)
    assert (found.message, found.note) == ("", "left out: record 1: version 1: INVALID_ARGUMENT: x is odd")
    assert [version for _, version, _, _ in server.asked] == [1, 1, 2]


def test_an_answer_that_is_too_large_is_not_taken(volume, monkeypatch):
    monkeypatch.setattr(compare, "MAX_MESSAGE_BYTES", 1000)
    warm(volume, [1.0], [2.0], [3.0])

    def answer(model, version, x):
        return [0.0] * (1000 if x == [float(version)] else 1)

    found, _ = run(volume, answer)
    assert (found.records, found.failures) == (1, 1)
    assert "record 2: version 2: RESOURCE_EXHAUSTED" in found.message
    assert found.note.startswith("left out: record 1: version 1: RESOURCE_EXHAUSTED")


def test_a_request_that_is_too_large_is_not_sent(volume, monkeypatch):
    monkeypatch.setattr(compare, "MAX_MESSAGE_BYTES", 1000)
    warm(volume, [1.0] * 1000, [2.0])
    found, server = run(volume, line)
    assert found.records == 1
    assert (found.message, found.note[:29]) == ("", "left out: record 1: it has 40")
    assert len(server.asked) == 2


def test_a_request_larger_than_what_is_read_at_once(volume):
    warm(volume, [1.0] * 300_000, [2.0])
    found, _ = run(volume, lambda model, version, x: [float(len(x))])
    assert (found.records, found.message) == (2, "")


def test_an_empty_record_is_passed_over(volume):
    warm(volume, b"", [2.0])
    found, _ = run(volume, line)
    assert (found.records, found.message) == (1, "")


def test_requests_of_which_none_can_be_answered(volume):
    warm(volume, [1.0], [2.0])

    def answer(model, version, x):
        raise Refusal("INVALID_ARGUMENT", "no")

    found, _ = run(volume, answer)
    assert (found.records, found.message) == (0, "none of the requests could be compared")
    assert found.note == "left out: record 1: version 1: INVALID_ARGUMENT: no (and 1 more)"


def test_what_no_number_can_say_is_in_the_message(volume):
    warm(volume, [1.0], [2.0], [3.0])
    found, _ = run(volume, lambda model, version, x: [1.0, 2.0] if version == 2 and x != [1.0] else [1.0])
    assert (found.records, found.outputs[0].max_relative) == (3, 2.0)
    assert found.message == "output y: record 2: it has the shape [2] instead of [1]"


def test_only_empty_records(volume):
    warm(volume, b"", b"")
    found, _ = run(volume, line)
    assert (found.records, found.message) == (0, "the warmup file holds no requests")


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        pytest.param(savedmodels.framed(b"\xff"), "left out: record 2: it does not parse as PredictionLog", id="no PredictionLog"),
        pytest.param(savedmodels.framed(b"", crc=1), "left out: record 2: record 2 (at byte", id="a wrong checksum"),
        pytest.param(savedmodels.framed(b"", length=2**60), "bytes, and", id="a length of 2^60"),
    ],
)
def test_a_file_that_is_broken_further_on_is_compared_so_far(volume, tail, says):
    path = warm(volume, [1.0])
    path.write_bytes(path.read_bytes() + tail)
    found, _ = run(volume, line)
    assert (found.records, found.message) == (1, "")
    assert says in found.note


def test_the_time_is_bounded(volume, monkeypatch):
    monkeypatch.setattr(compare, "MAX_SECONDS", 0.3)
    warm(volume, *([1.0] for _ in range(1000)))
    begin = time.monotonic()
    found, _ = run(volume, line)
    assert time.monotonic() - begin < 30
    assert 0 < found.records < 1000
    assert found.message == ""
    assert found.note == f"ended before record {found.records + 1}, after 0 s"


def test_it_is_told_how_far_it_is(volume, monkeypatch):
    monkeypatch.setattr(compare, "TELL_SECONDS", 0.0)
    warm(volume, [1.0], [2.0])
    told = []
    found, _ = run(volume, line, told.append)
    assert told == [1, 2]
    assert found.records == 2


def test_a_file_that_is_written_meanwhile_interrupts_the_comparison(volume):
    path = warm(volume, [1.0], [2.0])

    def answer(model, version, x):
        path.write_bytes(path.read_bytes() + b"x")
        return line(model, version, x)

    with pytest.raises(compare.Interrupted, match="being written"):
        run(volume, answer)


@pytest.mark.parametrize("gone", [warmup.FILE, ""])
def test_a_file_that_is_gone_interrupts_the_comparison(volume, gone):
    if not gone:
        (volume / "2").rmdir()
    with pytest.raises(compare.Interrupted):
        run(volume, line)


def test_a_comparison_can_be_cancelled_at_any_moment(volume):
    warm(volume, *([1.0] for _ in range(1000)))

    async def scene():
        async with PredictionServer(line).running() as address:
            for seconds in (0.0, 0.01, 0.05, 0.2):
                job = compare.Job(PROMOTED, CANDIDATE, str(volume), "2")
                task = asyncio.create_task(compare.compare(address, job, [].append))
                await asyncio.sleep(seconds)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(scene())
