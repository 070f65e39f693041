"""What a comparison costs the agent, for the largest answers it takes; the last line is one JSON object.

Of each kind of answer: CPU seconds for one pair of answers that differ everywhere, the peak memory of the process that compares
them (the agent's container may have 256 MB in all), and the longest time its event loop stood still.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import savedmodels
from tests.unit.agent.prediction_server import AnswerServer
from tfmodel_agent import compare
from tfmodel_serving import tensors
from tfmodel_serving.protos import answers_pb2

RECORDS = 2
_Fill = Callable[[answers_pb2.TensorProto, int], None]


def _floats(proto: answers_pb2.TensorProto, version: int) -> None:
    proto.dtype = 1
    proto.float_val.extend((number % 97) / 97 + version for number in range(tensors.MAX_NUMBERS))


def _integers(proto: answers_pb2.TensorProto, version: int) -> None:
    proto.dtype = 9
    proto.int64_val.extend(number % 97 + version for number in range(tensors.MAX_NUMBERS))


def _strings(proto: answers_pb2.TensorProto, version: int) -> None:
    proto.dtype = 7
    proto.string_val.extend(b"version %d" % version for _ in range(tensors.MAX_STRINGS))


KINDS: dict[str, tuple[_Fill, list[int]]] = {
    "scores": (_floats, [tensors.MAX_NUMBERS // 1024, 1024]),
    "values": (_floats, [tensors.MAX_NUMBERS]),
    "one_row": (_floats, [1, tensors.MAX_NUMBERS]),
    "integers": (_integers, [tensors.MAX_NUMBERS]),
    "strings": (_strings, [tensors.MAX_STRINGS]),
}


def answer(kind: str, version: int) -> bytes:
    """Return a PredictResponse of one output."""
    fill, shape = KINDS[kind]
    response = answers_pb2.PredictResponse()
    fill(response.outputs["y"], version)
    for size in shape:
        response.outputs["y"].tensor_shape.dim.add(size=size)
    return response.SerializeToString()


def serve(kind: str, port: multiprocessing.Queue[int]) -> None:
    """Answer until killed."""

    async def serving() -> None:
        answers = {version: answer(kind, version) for version in (1, 2)}
        async with AnswerServer(answers).running() as address:
            port.put(int(address.rpartition(":")[2]))
            await asyncio.Event().wait()

    asyncio.run(serving())


def measure(port: int, base_path: str, figures: multiprocessing.Queue[dict[str, float]]) -> None:
    """Compare in this process."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begin - 0.01)

    async def comparing() -> None:
        watching = asyncio.create_task(watch())
        job = compare.Job(compare.Side("half", 1), compare.Side("half--candidate", 2), base_path, "2")
        found = await compare.compare(f"127.0.0.1:{port}", job, lambda records: None)
        assert found.records == RECORDS, found
        watching.cancel()

    before = time.process_time()
    asyncio.run(comparing())
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    figures.put({"cpu_seconds": (time.process_time() - before) / RECORDS, "peak_rss_mb": peak, "loop_stall_seconds": longest})


def main() -> None:
    """Run all and print."""
    context = multiprocessing.get_context("spawn")
    every: dict[str, float] = {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as base_path:
            (Path(base_path) / "2").mkdir()
            savedmodels.write_warmup(Path(base_path) / "2", [savedmodels.predict_record(x=[1.0])] * RECORDS)
            ports, figures = context.Queue(), context.Queue()
            server = context.Process(target=serve, args=(kind, ports))
            server.start()
            try:
                client = context.Process(target=measure, args=(ports.get(timeout=120), base_path, figures))
                client.start()
                found = figures.get(timeout=300)
                client.join()
            finally:
                server.kill()
                server.join()
        print(f"{kind}: {found}", file=sys.stderr)
        every |= {f"{kind}_{name}": round(value, 3) for name, value in found.items()}
    print(json.dumps(every))


if __name__ == "__main__":
    main()
