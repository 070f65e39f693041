"""One comparison: the requests of a warmup file, asked of the candidate and of the version clients get.

Live traffic must not feel it: one request is under way at any moment, after each pair there is a pause of three times
what the pair took, and all of it ends after two minutes. Values are compared in a thread; requests and answers are bounded.
What a server answers that is busy, or has not got the version, says nothing about a version: then nothing is reported.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping

import grpc
import grpc.aio

from tfmodel_agent import tally as tallies
from tfmodel_agent import threads
from tfmodel_serving import comparison, files, replay, state, tensors, tfrecord, warmup, wire
from tfmodel_serving.problems import Missing, Problem

MAX_SECONDS = 120.0
"""How long one comparison takes at most, but for the request that is under way then."""
MAX_MESSAGE_BYTES = 8 << 20
"""Largest request that is sent, and largest answer that is taken: there may be some copies of each in memory."""
REQUEST_SECONDS = 30.0
PAUSE_FACTOR = 3.0
MIN_PAUSE_SECONDS = 0.01
BUSY_PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Before a request is sent once more that the server had no room for."""
TELL_SECONDS = 2.0
"""Pause between two reports of what is known so far."""


class Interrupted(Exception):
    """The comparison can't be made just now; the message says why. It says nothing about the versions."""


class Unanswered(Exception):
    """A request to version ``version`` has no answer that could be compared."""

    def __init__(self, version: int, reason: str) -> None:
        super().__init__(f"version {version}: {reason}")
        self.version = version


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """One of the two: a version, and the name it is served by."""

    model: str
    version: int


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What to compare.

    Args:
        base_path: With the version directory ``directory`` in it, whose warmup file holds the requests.
    """

    promoted: Side
    candidate: Side
    base_path: str
    directory: str


async def compare(server: str, job: Job, tell: Callable[[int], None]) -> state.Comparison:
    """Make one comparison; return its result.

    Args:
        server: Address of the model server's gRPC port.
        tell: Is told from time to time how many requests both have answered.

    Raises:
        Interrupted: See there.
    """
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.enable_http_proxy", 0),
    ]
    async with grpc.aio.insecure_channel(server, options=options) as channel:
        return await _compare(channel, job, tell)


async def _compare(channel: grpc.aio.Channel, job: Job, tell: Callable[[int], None]) -> state.Comparison:
    found = tallies.Tally()
    records = _records(job)  # never closed by hand: a thread may be in it when this is cancelled
    begin = told_at = time.monotonic()
    while record := await threads.start(lambda: next(records, None)):
        at = time.monotonic()
        if at - begin >= MAX_SECONDS:
            found = dataclasses.replace(found, end=f"ended before record {record[0]}, after {MAX_SECONDS:.0f} s")
            break
        found = await _one(channel, job, *record, found)
        now = time.monotonic()
        if now - told_at > TELL_SECONDS:
            told_at = now
            tell(len(found.seconds))
        await asyncio.sleep(min(max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * (now - at)), begin + MAX_SECONDS - now))
    return tallies.told(found, job.promoted.version, job.candidate.version)


async def _one(
    channel: grpc.aio.Channel, job: Job, number: int, request: replay.Request | str, found: tallies.Tally
) -> tallies.Tally:
    """Ask both; return ``found`` with what they answered. A request that is a text can't be sent, for that reason."""
    where = f"record {number}"
    if isinstance(request, str):
        return tallies.left_out(found, f"{where}: {request}")
    try:
        promoted, promoted_seconds = await _ask(channel, job.promoted, request, where)
        candidate, candidate_seconds = await _ask(channel, job.candidate, request, where)
        more = await threads.start(lambda: _differences(job, request, promoted, candidate))
    except Unanswered as error:
        judge = tallies.failed if error.version == job.candidate.version else tallies.left_out
        return judge(found, f"{where}: {error}")
    return tallies.compared(found, where, more, (promoted_seconds, candidate_seconds))


async def _ask(channel: grpc.aio.Channel, side: Side, request: replay.Request, where: str) -> tuple[bytes, float]:
    """Return an answer, and how many seconds it took.

    Raises:
        Interrupted: The server has no room for the request, or has not got the version (any more).
        Unanswered: The version can't answer it, or the answer is too large.
    """
    call = channel.unary_unary(f"{replay.SERVICE}/{request.method}", request_serializer=bytes, response_deserializer=bytes)
    content = request.addressed(side.model, side.version)
    for pause in (*BUSY_PAUSES, None):
        begin = time.monotonic()
        try:
            answer = await call(content, timeout=REQUEST_SECONDS)
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {state.clean(error.details() or '')}"
            if not _is_busy(error):
                raise Unanswered(side.version, reason) from error
            if pause is None:
                raise Interrupted(f"{where}: version {side.version}: {reason}") from error
            await asyncio.sleep(pause)
        else:
            return answer, time.monotonic() - begin
    raise AssertionError("the last pause is None")


def _is_busy(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether an error is about the server, and not about what was asked.

    Source: tensorflow/serving, core/basic_manager.cc ("Servable not found"), batching/batching_session.cc (UNAVAILABLE: the
    queue is full); gRPC's own limits are about the request, and TensorFlow's memory may be free again later.
    """
    details = error.details() or ""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return True
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return "larger than max" not in details
        case grpc.StatusCode.NOT_FOUND:
            return "Servable not found" in details
        case _:
            return False


def _differences(job: Job, request: replay.Request, promoted: bytes, candidate: bytes) -> Mapping[str, comparison.Difference]:
    sides = []
    for side, answer in ((job.promoted, promoted), (job.candidate, candidate)):
        try:
            sides.append(replay.outputs(request, answer))
        except tensors.Undecodable as error:
            raise Unanswered(side.version, str(error)) from error
    return comparison.differences(*sides)


def _records(job: Job) -> Iterator[tuple[int, replay.Request | str]]:
    """Read the requests, each with the number of its record; instead of one that can't be sent, the reason for that.

    Raises:
        Interrupted: The file can't be read just now, or has changed.
    """
    try:
        listing = files.scan(job.base_path, job.directory)
        if warmup.FILE not in listing.files:
            raise Missing(f"{warmup.FILE} is missing")
        with files.opened(listing, warmup.FILE) as window:
            yield from _requests(window)
    except Problem as error:
        raise Interrupted(str(error)) from error


def _requests(window: wire.Window) -> Iterator[tuple[int, replay.Request | str]]:
    number = 0
    try:
        for number, record in enumerate(itertools.islice(tfrecord.records(window), warmup.MAX_RECORDS), start=1):
            if record.length > MAX_MESSAGE_BYTES:
                yield number, f"it has {record.length} bytes; up to {MAX_MESSAGE_BYTES} are sent"
                continue
            request = _request(record.data or window.read(record.start, record.length))
            if request is not None:
                yield number, request
    except (tfrecord.Corrupt, tfrecord.CutShort, wire.Truncated) as error:
        yield number + 1, str(error)


def _request(record: bytes) -> replay.Request | str | None:
    try:
        return replay.request(record)
    except wire.Malformed as error:
        return str(error)
