"""What verification costs: `python -m tests.bench.verify`; the last line is one JSON object.

`verify_seconds`: a version directory is complete → its verdict, the pause between the two looks included (the agent's is one
second), for a SavedModel of some 100 MB, nearly all of it graph; `parse_seconds` is the judging alone.
`hash_mb_per_second`: SHA-256 of 1 GB in one file, in a process of its own. `warmup_1000_seconds`: 1,000 records of 10 KB.
`…_rss_mb`: peak memory of a process that judges a warmup file of 1 GB, one record of it, and a saved_model.pb of 2 GB; the
limit for each is 256.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from tests import savedmodels
from tests.modelserver.protos import saved_model_pb2
from tests.savedmodels import predict_record
from tfmodel_serving import tfrecord

ROOT = Path(__file__).resolve().parent.parent.parent
PAUSE_SECONDS = 1.0

# Judges one version in a process of its own, and says how long each look took and what it took at most of memory.
JUDGE = """
import json, re, sys, time
from tfmodel_serving import saved_model
def peak():  # VmHWM begins anew with exec, unlike getrusage's ru_maxrss
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) / 1024
base, hashed = sys.argv[1], sys.argv[2] == "hashed"
idle = peak()
settings = saved_model.Settings(is_hashed=hashed, patience_seconds=0)
first = saved_model.look_at(base, "1", None, settings, 0)
start = time.perf_counter()
look = saved_model.look_at(base, "1", first, settings, 1)
judged = time.perf_counter() - start
start = time.perf_counter()
saved_model.look_at(base, "1", look, settings, 2)
print(json.dumps({"verdict": look.finding.verdict, "message": look.finding.message, "warnings": look.finding.warnings,
    "judge_seconds": judged, "again_seconds": time.perf_counter() - start, "idle_rss_mb": idle,
    "rss_mb": peak()}))
"""


def judge(version_directory: Path, *, hashed: bool = False) -> dict:
    """Judge one version in a fresh process."""
    command = [sys.executable, "-c", JUDGE, str(version_directory.parent), "hashed" if hashed else ""]
    environment = os.environ | {"PYTHONPATH": "operator"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT).stdout
    found = json.loads(output)
    print(f"{version_directory.parent.name}: {found}", flush=True)
    return found


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


@contextlib.contextmanager
def inflated(version_directory: Path) -> Iterator[Path]:
    """A placed model whose saved_model.pb is about to be written anew."""
    savedmodels.place("half_plus_two", version_directory)
    yield version_directory / "saved_model.pb"


def with_nodes(version_directory: Path, megabytes: int) -> None:
    """Give the graph so many nodes, as large models have them, that the file takes ``megabytes``; some in a function."""
    with inflated(version_directory) as file:
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        graph = model.meta_graphs[0].graph_def
        node = graph.node[0].__class__(
            name="model/layer_0/dense/MatMul/ReadVariableOp", op="Identity", input=["model/layer/dense"]
        )
        node.attr["T"].type = 1
        node.attr["_output_shapes"].list.shape.add().dim.add(size=-1)
        count = megabytes * 1_000_000 // (node.ByteSize() + 4)
        graph.node.extend([node] * (count // 2))
        graph.library.function[0].node_def.extend([node] * (count - count // 2))
        file.write_bytes(model.SerializeToString())


def with_constant(version_directory: Path, size: int) -> None:
    """Give the graph one constant of ``size`` bytes, written in pieces; a message may have less than 2 GiB."""
    with inflated(version_directory) as file:
        rest = file.read_bytes()
        # the meta graph's fields, and after them another graph_def, which protobuf merges with the first
        meta_graph = saved_model_pb2.SavedModel.FromString(rest).meta_graphs[0].SerializeToString()
        heads = (
            b""  # from the inside out: tensor_content of a TensorProto, of an AttrValue, of a map entry, of a node, of a graph
        )
        for number, before in (
            (4, field(2, b"")),
            (8, b""),
            (2, field(1, b"value")),
            (5, field(1, b"big") + field(2, b"Const")),
            (1, b""),
            (2, b""),
        ):
            heads = before + varint(number << 3 | 2) + varint(size + len(heads)) + heads
        head = varint(2 << 3 | 2) + varint(len(meta_graph) + len(heads) + size) + meta_graph + heads
        with file.open("wb") as output:
            output.write(b"\x08\x01" + head)
            for _ in range(0, size, 1 << 20):
                output.write(b"\x5a" * (1 << 20))


def with_warmup(version_directory: Path, records: int, size: int) -> None:
    """Write a warmup file of ``records`` records with ``size`` bytes of floats each."""
    savedmodels.place("half_plus_two", version_directory)
    record = predict_record(x=[1.0])
    tensor = record.predict_log.request.inputs["x"]
    tensor.ClearField("float_val")
    tensor.tensor_shape.dim[0].size, tensor.tensor_content = size // 4, bytes(size)
    content = record.SerializeToString()
    header, footer = len(content).to_bytes(8, "little"), tfrecord.masked(google_crc32c.value(content)).to_bytes(4, "little")
    header += tfrecord.masked(google_crc32c.value(header)).to_bytes(4, "little")
    file = version_directory / savedmodels.WARMUP_FILE
    file.parent.mkdir()
    with file.open("wb") as output:
        for _ in range(records):
            output.writelines((header, content, footer))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.verify", description=__doc__)
    parser.add_argument("--directory", type=Path, help="where to make some 5 GB of files (default: a temporary directory)")
    home = Path(tempfile.mkdtemp(prefix="bench-verify-", dir=parser.parse_args().directory))
    try:
        print(json.dumps(measure(home)))
    finally:
        shutil.rmtree(home)


def measure(home: Path) -> dict[str, float]:
    """Measure everything in files below ``home``."""
    with_nodes(home / "graph" / "1", 100)
    graph = judge(home / "graph" / "1")
    with_warmup(home / "warmup" / "1", 1000, 10_000)
    plain = home / "plain" / "1"
    savedmodels.place("half_plus_two", plain)
    warmup = judge(home / "warmup" / "1")["judge_seconds"] - judge(plain)["judge_seconds"]
    with_warmup(home / "warmup-1GB" / "1", 1000, 1_000_000)
    many = judge(home / "warmup-1GB" / "1")
    shutil.rmtree(home / "warmup-1GB")
    with_warmup(home / "record-1GB" / "1", 1, 1_000_000_000)
    one = judge(home / "record-1GB" / "1")
    shutil.rmtree(home / "record-1GB")
    with_constant(home / "model-2GB" / "1", 2047 << 20)
    large = judge(home / "model-2GB" / "1")
    (home / "model-2GB" / "1" / "saved_model.pb").unlink()
    shard = plain / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(b"")
    with shard.open("wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 10) * 1024)
    start = time.perf_counter()
    hashed = judge(plain, hashed=True)
    return {
        "verify_seconds": round(PAUSE_SECONDS + graph["judge_seconds"], 3),
        "parse_seconds": round(graph["judge_seconds"], 3),
        "look_again_seconds": round(graph["again_seconds"], 5),
        "hash_mb_per_second": round((1 << 30) / 1e6 / hashed["judge_seconds"]),
        "hash_process_seconds": round(time.perf_counter() - start, 3),
        "warmup_1000_seconds": round(warmup, 3),
        "graph_100mb_rss_mb": round(graph["rss_mb"]),
        "warmup_1gb_seconds": round(many["judge_seconds"], 2),
        "warmup_1gb_rss_mb": round(many["rss_mb"]),
        "record_1gb_rss_mb": round(one["rss_mb"]),
        "saved_model_2gb_seconds": round(large["judge_seconds"], 2),
        "saved_model_2gb_rss_mb": round(large["rss_mb"]),
        "idle_rss_mb": round(graph["idle_rss_mb"]),
    }


if __name__ == "__main__":
    main()
