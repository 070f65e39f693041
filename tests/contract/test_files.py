"""What the server makes of good and bad versions on disk.

All of a table are pushed at once: each is a model of its own, with version 1 from that row.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import savedmodels
from tests.contract.client import Model, eventually
from tests.contract.launch import Constraints
from tests.contract.server import Server, Start

pytestmark = pytest.mark.contract

LOADS = "AVAILABLE"

# (state, part of the message). Measured on real files with retries off.
DAMAGED: dict[str, tuple[str, str]] = {
    "no saved_model.pb": ("END:5", "Specified file path does not appear to contain a SavedModel bundle"),
    "empty directory": ("END:5", "Specified file path does not appear to contain a SavedModel bundle"),
    "truncated saved_model.pb": ("END:11", "Read less bytes than requested"),
    "garbage saved_model.pb": ("END:15", "as binary proto"),
    "saved_model.pbtxt": (LOADS, ""),
    "no variables": (LOADS, ""),
    "no variables.index": (LOADS, ""),
    "no data shard": ("END:5", "variables.data-00000-of-00001; No such file or directory"),
    "truncated data shard": ("END:11", "Read less bytes than requested"),
}


def test_damaged_versions(server: Server) -> None:
    """A model without its variables is AVAILABLE and fails every request; the rest fail to load, with TensorFlow's words."""
    models: dict[str, Model] = {}
    for how in DAMAGED:
        base_path = server.base_path(_1="half_plus_two")
        savedmodels.spoil(base_path / "1", how)
        models[how] = Model(f"damaged-{len(models)}", base_path)
    answer = server.client.reload(*models.values())
    assert answer.code == "UNKNOWN"
    assert answer.details.startswith(f"{sum(state != LOADS for state, _ in DAMAGED.values())} model(s) did not become")
    for how, (state, message) in DAMAGED.items():
        assert server.client.states(models[how].name) == {1: state}, how
        assert message in server.client.versions(models[how].name)[1].message, how
    assert server.client.predict(models["saved_model.pbtxt"].name).code == "OK"
    for how in ("no variables", "no variables.index"):
        assert server.client.reload(*models.values()).code == "OK"  # the lot again: no longer new names
        failed = server.client.predict(models[how].name)
        assert failed.code == "FAILED_PRECONDITION", how
        assert "Could not find variable" in failed.details, how
    server.client.reload()


def test_which_names_are_versions(server: Server) -> None:
    """sources/storage_path takes any int64, negative ones, zero and plain files included. Measured."""
    base_path = server.base_path(_1="half_plus_two")
    for name in ("0", "-4", "9223372036854775808", "v2", "3.tmp", "５", "lost+found", "..data"):
        shutil.copytree(base_path / "1", base_path / name)
    (base_path / "README").write_text("no version")
    (base_path / "7").write_text("no directory, but a number")
    answer = server.client.reload(Model("names", base_path, all_versions=True))
    assert answer.code == "UNKNOWN"  # the highest settled version is 7
    assert "{name: names version: 7} due to error: FAILED_PRECONDITION" in answer.details
    eventually(lambda: server.client.states("names"), {7: "END:9", 1: LOADS, 0: LOADS, -4: LOADS})
    assert server.client.predict("names").value == (2.5, 1)
    assert server.client.versions("names")[7].message.endswith("Not a directory")


def test_odd_but_good_version_numbers(server: Server) -> None:
    """Measured: 00007 is 7, and 2^63-1 is the highest there is."""
    base_path = server.base_path(_00007="half_plus_two")
    savedmodels.place("half_plus_three", base_path / str(2**63 - 1))
    assert server.client.reload(Model("odd", base_path, (7, 2**63 - 1))).code == "OK"
    eventually(lambda: server.client.states("odd"), {7: LOADS, 2**63 - 1: LOADS})
    assert server.client.predict("odd").value == (3.5, 2**63 - 1)
    assert server.client.predict("odd", version=7).value == (2.5, 7)


def test_files_the_server_may_not_read(start: Start) -> None:
    """Measured as an ordinary user: a load failure like any other."""
    server = start(constraints=Constraints(as_user=True))
    model = server.model("secret")
    (model.base_path / "1" / "saved_model.pb").chmod(0o600)
    assert server.client.reload(model).code == "UNKNOWN"
    seen = server.client.versions("secret")[1]
    assert (seen.state, seen.code) == ("END", 7)
    assert "saved_model.pb" in seen.message


def _records(*records: object) -> Callable[[Path], object]:
    return lambda path: savedmodels.write_warmup(path, records)


def _content(content: bytes) -> Callable[[Path], object]:
    return lambda path: savedmodels.write_warmup_file(path, content)


def _gzipped(path: Path) -> None:
    import gzip

    savedmodels.write_warmup_file(path, gzip.compress(RECORD))


X = savedmodels.predict_record(x=[1.0])
RECORD = savedmodels.framed(X.SerializeToString())
NOT_TFRECORD = "(Is this even a TFRecord file?). Please verify your warmup data is in TFRecord format."
SESSION_RUN = b"\x2a\x00"  # PredictionLog.session_run_log (field 5), empty

GOOD_WARMUPS: dict[str, Callable[[Path], object]] = {
    "one record": _records(X),
    "1000 records": _records(*[X] * 1000),
    "an empty file": _content(b""),
    "classify and regress": _records(
        savedmodels.example_record("classify", "classify_x_to_y", 1.0),
        savedmodels.example_record("regress", "regress_x_to_y", 1.0, 2.0),
    ),
    "another model's name": _records(savedmodels.predict_record(model="somebody else", x=[1.0])),
    "another rank": _records(savedmodels.predict_record(x=[[1.0, 2.0]])),
    "a record of length zero": _records(b""),
    "fewer than 12 bytes at the end": _content(RECORD + b"\x01" * 11),
}

BAD_WARMUPS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "1001 records": (_records(*[X] * 1001), "END:3", "Number of warmup records exceeds the maximum (1000) at "),
    "unknown signature": (
        _records(savedmodels.predict_record("nope", x=[1.0])),
        "END:9",
        'Serving signature key "nope" not found.',
    ),
    "wrong input name": (
        _records(savedmodels.predict_record(z=[1.0])),
        "END:3",
        "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
        "Inputs expe",
    ),
    "extra input": (
        _records(savedmodels.predict_record(x=[1.0], z=[1.0])),
        "END:3",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.",
    ),
    "missing input": (
        _records(savedmodels.predict_record()),
        "END:3",
        "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
    ),
    "wrong type": (
        _records(savedmodels.predict_record(x=[1])),
        "END:3",
        "to be float but int64 is provided",
    ),
    "session_run_log": (_records(SESSION_RUN), "END:12", "Unsupported log_type for warmup: 5"),
    "gzip": (_gzipped, "END:15", f"corrupted record at 0 {NOT_TFRECORD}"),
    "bad checksum of the length": (
        _content(savedmodels.framed(b"x", length_crc=1)),
        "END:15",
        f"corrupted record at 0 {NOT_TFRECORD}",
    ),
    "bad checksum of the data": (
        _content(savedmodels.framed(X.SerializeToString(), crc=1)),
        "END:15",
        "corrupted record at 12",
    ),
    "bad checksum of the second record": (
        _content(RECORD + savedmodels.framed(X.SerializeToString(), crc=1)),
        "END:15",
        f"corrupted record at {len(RECORD) + 12}",
    ),
    "truncated data": (
        _content(RECORD + RECORD[:-5]),
        "END:15",
        f"truncated record at {len(RECORD)}' failed with Read less bytes than requested. Please verify",
    ),
}


def test_warmup_files_that_are_taken(server: Server) -> None:
    """Measured. Odd ones among them: neither shape nor an empty record nor a short tail is an error."""
    models: dict[str, Model] = {}
    for case, write in GOOD_WARMUPS.items():
        base_path = server.base_path(_1="half_plus_two")
        write(base_path / "1")
        models[case] = Model(f"warm-{len(models)}", base_path)
    text = server.base_path(_1="text")
    savedmodels.write_warmup(text / "1", [savedmodels.predict_record(text=["a", b"\xff"])])
    two = server.base_path(_1="two_inputs")
    savedmodels.write_warmup(two / "1", [savedmodels.predict_record(x=[[1.0, 2.0]], z=[3])])
    models |= {"strings": Model("warm-text", text), "two inputs": Model("warm-two", two)}
    answer = server.client.reload(*models.values(), timeout=60)
    assert answer.code == "OK", answer.details
    server.client.reload()


def test_warmup_files_that_fail_the_load(server: Server) -> None:
    """servables/tensorflow/saved_model_warmup_util.cc; measured: code and words."""
    models: dict[str, Model] = {}
    for case, (write, _, _) in BAD_WARMUPS.items():
        base_path = server.base_path(_1="half_plus_two")
        write(base_path / "1")
        models[case] = Model(f"cold-{len(models)}", base_path)
    answer = server.client.reload(*models.values(), timeout=60)
    assert answer.code == "UNKNOWN"
    assert answer.details.startswith(f"{len(models)} model(s) did not become available: {{")
    assert answer.details.endswith("...TRUNCATED")
    for case, (_, state, message) in BAD_WARMUPS.items():
        assert server.client.states(models[case].name) == {1: state}, case
        assert message in server.client.versions(models[case].name)[1].message, case
    server.client.reload()


def test_an_unparsable_record_breaks_the_status_call_of_its_model(server: Server) -> None:
    """The message quotes the record: bytes that are no UTF-8 in a proto3 string. Measured: for ever, of this model only."""
    model, other = server.model("binary"), server.model("other")
    savedmodels.write_warmup(model.base_path / "1", [b"\xff\xfe\x80 not a PredictionLog"])
    answer = server.client.reload(model, other)
    assert answer.code == "UNKNOWN"
    assert "due to error: INVALID_ARGUMENT: Failed to parse warmup record: " in answer.details
    for version in (None, 1):
        broken = server.client.status("binary", version)
        assert broken.code == "INTERNAL", broken
        assert broken.details == "Exception deserializing response!"
    code, status = server.client.rest("/v1/models/binary")
    assert (code, status["model_version_status"][0]["state"]) == (200, "END")
    assert server.client.states("other") == {1: LOADS}
    server.client.reload(other)
    assert server.client.status("binary").code == "INTERNAL"


def test_a_record_larger_than_the_batch(start: Start, directory: Path) -> None:
    """Measured: the record must fit max_batch_size, and so must a request."""
    parameters = directory / "batching.config"
    parameters.write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 0 }")
    server = start(flags={"enable_batching": "true", "batching_parameters_file": str(parameters)}, directory=directory)
    fits, too_large = server.model("fits"), server.model("large")
    savedmodels.write_warmup(fits.base_path / "1", [savedmodels.predict_record(x=[1.0] * 4)])
    savedmodels.write_warmup(too_large.base_path / "1", [savedmodels.predict_record(x=[1.0] * 8)])
    server.client.reload(fits, too_large)
    assert server.client.states("fits") == {1: LOADS}
    seen = server.client.versions("large")[1]
    assert (seen.state, seen.code) == ("END", 3)
    assert "Task size 8 is larger than maximum input batch size 4" in seen.message


def test_a_record_length_without_end_kills_the_server(start: Start) -> None:
    """TensorFlow reserves what the header says before it reads. Measured: SIGSEGV, with all models."""
    server = start()
    good, deadly = server.model(), server.model()
    server.client.reload(good)
    savedmodels.write_warmup_file(deadly.base_path / "1", savedmodels.framed(b"x", length=2**60))
    server.client.reload(good, deadly)
    assert server.process.exit_code() == 128 + 11
