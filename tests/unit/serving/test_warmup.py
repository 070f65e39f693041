"""Warmup files, row by row of what a real model server was seen to do with them."""

from __future__ import annotations

import gzip
import re
import struct

import google_crc32c
import pytest

from tests import savedmodels
from tests.modelserver import crc32c
from tests.savedmodels import example_record, framed, predict_record
from tfmodel_serving import tfrecord, warmup
from tfmodel_serving.saved_model import Verdict
from tfmodel_serving.warmup import Policy

GOOD = predict_record(x=[1.0, 2.0])
LATE = 60.0
FILE = "assets.extra/tf_serving_warmup_requests"


def raw(record):
    return record if isinstance(record, bytes) else record.SerializeToString()


def changed(record, **fields):
    """``record`` with members of its predict request set: ``output_filter=["y"]``."""
    record.predict_log.request.MergeFrom(type(record.predict_log.request)(**fields))
    return record


def tensor(record, name="x"):
    return record.predict_log.request.inputs[name]


def multi_inference(*tasks, xs=(1.0,)):
    """Tasks are (model, signature, method)."""
    record = example_record("classify", "", *xs)
    examples = record.classify_log.request.input
    made = type(record)()
    made.multi_inference_log.request.input.CopyFrom(examples)
    for model, signature, method in tasks:
        task = made.multi_inference_log.request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return made


def without_content(record):
    """A tensor whose values are in tensor_content, as numpy writes them, and cut by one byte."""
    x = tensor(record)
    x.ClearField("float_val")
    x.tensor_content = struct.pack("<2f", 1.0, 2.0)[:-1]
    return record


def session_run():
    record = type(GOOD)()
    record.session_run_log.request.feed.add(name="x")
    return record


# -- AVAILABLE --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "records"),
    [
        pytest.param("half_plus_two", [], id="no records"),
        pytest.param("half_plus_two", [GOOD], id="one"),
        pytest.param("half_plus_two", [GOOD] * 1000, id="a thousand"),
        pytest.param("two_inputs", [predict_record(x=[[1.0, 2.0]], z=[3])], id="several inputs"),
        pytest.param("text", [predict_record(text=["a", "b"])], id="strings"),
        pytest.param("half_plus_two", [predict_record(model="another", x=[1.0])], id="another model's name"),
        pytest.param("half_plus_two", [predict_record("serving_default", x=[1.0])], id="the default signature by name"),
        pytest.param("half_plus_two", [changed(predict_record(x=[1.0]), output_filter=["y"])], id="an output it has"),
        pytest.param("half_plus_two", [example_record("classify", "classify_x_to_y", 1.0, 2.0)], id="classify"),
        pytest.param("half_plus_two", [example_record("regress", "regress_x_to_y", 1.0)], id="regress"),
    ],
)
def test_what_the_server_takes_is_verified_without_a_warning(version, kind, records):
    found = version.place(kind).warm(*records).judged()
    assert (found.verdict, found.message, found.warnings) == (Verdict.VERIFIED, "", ())
    assert found.warmup_records == len(records)


@pytest.mark.parametrize(
    ("records", "tail", "warning"),
    [
        pytest.param(
            [predict_record(x=[[1.0, 2.0]])], b"", r"record 1: its input x has the shape \[1, 2\], and the signature says \[-1\]", id="another rank"
        ),
        pytest.param([b"", GOOD], b"", "record 1: it holds no request and warms nothing up", id="an empty record"),
        pytest.param([b"\x0a\x00"], b"", "record 1: it holds no request and warms nothing up", id="only log_metadata"),
        pytest.param([GOOD], b"x" * 11, "11 stray bytes follow the last record", id="a tail of less than 12 bytes"),
    ],
)  # fmt: skip
def test_what_is_odd_and_taken_by_the_server_is_a_warning(version, records, tail, warning):
    found = version.place().warm(*records, tail=tail).judged(after=LATE)
    assert found.verdict is Verdict.VERIFIED
    assert len(found.warnings) == 1
    assert re.fullmatch(warning, found.warnings[0])


def test_a_batch_within_max_batch_size_is_taken(version):
    found = version.place().warm(predict_record(x=[1.0] * 4)).judged(max_batch_size=4)
    assert (found.verdict, found.warnings) == (Verdict.VERIFIED, ())


# -- END with an error ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "message"),
    [
        pytest.param(predict_record("nope", x=[1.0]), r"the model has no signature nope; it has \{classify_x_to_y, .*\}", id="signature"),
        pytest.param(predict_record(wrong=[1.0]), r"its inputs are \{wrong\}, and the signature's are \{x\}", id="input name"),
        pytest.param(predict_record(x=[1.0], z=[1]), r"its inputs are \{x, z\}, and the signature's are \{x\}", id="extra input"),
        pytest.param(predict_record(), r"its inputs are \{\}, and the signature's are \{x\}", id="no input"),
        pytest.param(predict_record(x=[1]), "its input x is DT_INT64, and the signature says DT_FLOAT", id="dtype"),
        pytest.param(without_content(predict_record(x=[1.0, 2.0])), r"its input x has 7 bytes of content for .*", id="content"),
        pytest.param(changed(predict_record(x=[1.0]), output_filter=["z"]), r"it asks for the output z, .*", id="output"),
        pytest.param(changed(predict_record(x=[1.0]), output_filter=["y", "y"]), "it asks for the output y twice", id="output twice"),
        pytest.param(b"\xff" * 8, "it is no PredictionLog", id="does not parse"),
        pytest.param(b"\x32\x06\x0a\x04\x12\x02\xff\xff", "it is no PredictionLog", id="does not parse within"),
        pytest.param(session_run(), "the model server does not take a session_run_log for warmup", id="session_run"),
        pytest.param(example_record("classify", "serving_default", 1.0), r"the signature's inputs are \{x\}, .*", id="classify predict"),
        pytest.param(example_record("regress", "classify_x_to_y", 1.0), r"the signature's outputs are \{scores\}, .*", id="regress classify"),
        pytest.param(example_record("classify", "classify_x_to_y"), "it holds no tf.Example", id="no examples"),
    ],
)  # fmt: skip
def test_a_record_the_server_fails_on_is_refused_with_its_number(version, record, message):
    found = version.place().warm(GOOD, record).judged()
    assert (found.verdict, found.reason) == (Verdict.REJECTED, "WarmupInvalid")
    assert re.fullmatch(f"{FILE}: record 2: {message}", found.message)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (predict_record(x=[1.0] * 8), "record 1: its input x is a batch of 8, and maxBatchSize is 4"),
        (example_record("classify", "classify_x_to_y", *[1.0] * 5), "record 1: it is a batch of 5 examples, and maxBatchSize is 4"),
    ],
)
def test_a_batch_larger_than_max_batch_size_is_refused(version, record, message):
    version.place().warm(record)
    assert version.judged(max_batch_size=4).message == f"{FILE}: {message}"
    assert version.judged().verdict is Verdict.VERIFIED, "where it isn't given there is no limit"


def test_inputs_of_different_batch_sizes_are_refused_where_the_server_batches(version):
    version.place("two_inputs").warm(predict_record(x=[[1.0, 2.0]], z=[3, 4]))
    assert "differ in their 0th dimension" in version.judged(max_batch_size=4).message


def test_the_1001st_record_is_one_too_many(version):
    found = version.place().warm(*[GOOD] * 1001).judged()
    assert found.message == f"{FILE}: it has more than 1000 records, which is all the model server takes"


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([("m", "classify_x_to_y", "classify"), ("m", "regress_x_to_y", "regress")], "different input tensors"),
        ([("m", "classify_x_to_y", "classify")], None),
        ([("", "classify_x_to_y", "classify")], "don't all name the same model"),
        ([("m", "classify_x_to_y", "classify")] * 2, "two of its tasks"),
        ([("m", "classify_x_to_y", "predict")], "the method of a task"),
        ([("m", "nope", "classify")], "no signature nope"),
        ([], "no tasks"),
    ],
)
def test_multi_inference_is_checked_task_by_task(version, tasks, message):
    found = version.place().warm(multi_inference(*tasks)).judged()
    assert (found.verdict is Verdict.VERIFIED) is (message is None)
    assert (message or "") in found.message


# -- the frame: what kills the server, or looks like a copy ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(gzip.compress(framed(raw(GOOD)) * 9), "it is compressed with gzip; .*", id="gzip"),
        pytest.param(framed(raw(GOOD), length_crc=1), r"record 1 \(at byte 0\): the checksum of its length is wrong; .*", id="length CRC"),
        pytest.param(b"not a TFRecord file at all", r"record 1 \(at byte 0\): the checksum of its length is wrong; .*", id="text"),
        pytest.param(framed(raw(GOOD)) + framed(raw(GOOD), crc=1), r"record 2 \(at byte \d+\): the checksum of its data is wrong", id="data CRC"),
    ],
)  # fmt: skip
def test_a_frame_that_is_wrong_is_refused(version, content, message):
    savedmodels.write_warmup_file(version.place().path, content)
    found = version.judged()
    assert (found.verdict, found.reason) == (Verdict.REJECTED, "WarmupInvalid")
    assert re.fullmatch(f"{FILE}: {message}", found.message)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(framed(raw(GOOD)) + framed(raw(GOOD), length=2**60), id="a length of 2^60 with the right checksum"),
        pytest.param(framed(raw(GOOD)) + framed(raw(GOOD), length=2**64 - 1), id="the largest length there is"),
        pytest.param(framed(raw(GOOD)) + framed(raw(GOOD))[:-5], id="cut short"),
        pytest.param(framed(raw(GOOD)) + framed(raw(GOOD))[:12], id="a header and nothing more"),
    ],
)
def test_a_record_that_goes_beyond_the_file_is_never_let_through(version, policy, content):
    """The server believes the length: 2^60 kills the process, with all its models."""
    savedmodels.write_warmup_file(version.place().path, content)
    soon, late = version.judged(policy=policy), version.judged(policy=policy, after=LATE)
    assert (soon.verdict, late.verdict, late.reason) == (Verdict.INCOMPLETE, Verdict.REJECTED, "WarmupInvalid")
    assert re.fullmatch(rf"{FILE}: record 2 \(at byte \d+\) says it has \d+ bytes, and \d+ follow", late.message)


# -- policies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "min_records", "records", "verdict", "reason"),
    [
        (Policy.REQUIRED, 0, None, Verdict.REJECTED, "WarmupMissing"),
        (Policy.REQUIRED, 0, 0, Verdict.REJECTED, "WarmupMissing"),
        (Policy.REQUIRED, 0, 1, Verdict.VERIFIED, ""),
        (Policy.REQUIRED, 3, 2, Verdict.REJECTED, "WarmupMissing"),
        (Policy.REQUIRED, 3, 3, Verdict.VERIFIED, ""),
        (Policy.IF_PRESENT, 3, None, Verdict.VERIFIED, ""),
        (Policy.IF_PRESENT, 3, 1, Verdict.VERIFIED, ""),
        (Policy.IGNORE, 3, None, Verdict.VERIFIED, ""),
    ],
)
def test_policies_on_the_number_of_records(version, policy, min_records, records, verdict, reason):
    version.place()
    if records is not None:
        version.warm(*[GOOD] * records)
    found = version.judged(policy=policy, min_records=min_records, after=LATE)
    assert (found.verdict, found.reason) == (verdict, reason)
    if reason:
        assert version.judged(policy=policy, min_records=min_records).verdict is Verdict.INCOMPLETE, "it may still be copied"


@pytest.mark.parametrize("record", [predict_record("nope", x=[1.0]), b"\xff" * 8], ids=["signature", "does not parse"])
def test_ignored_faults_are_warnings(version, record):
    found = version.place().warm(GOOD, record).judged(policy=Policy.IGNORE)
    assert found.verdict is Verdict.VERIFIED
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("record 2: ")


def test_a_directory_in_its_place_is_refused(version):
    directory = version.place().path / warmup.FILE
    directory.mkdir(parents=True)
    (directory / "file").touch()
    assert version.judged().reason == "WarmupInvalid"


def test_many_warnings_are_few(version):
    found = version.place().warm(*[b""] * 500).judged()
    assert len(found.warnings) == warmup.MAX_WARNINGS + 1


# -- large records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        pytest.param(predict_record(x=[1.0] * 600_000), Verdict.VERIFIED, id="good"),
        pytest.param(predict_record(x=[1] * 1_100_000), Verdict.REJECTED, id="dtype"),
        pytest.param(predict_record("nope", x=[1.0] * 600_000), Verdict.REJECTED, id="signature"),
        pytest.param(example_record("classify", "classify_x_to_y", *[1.0] * 60_000), Verdict.VERIFIED, id="examples"),
    ],
)
def test_a_record_too_large_to_be_parsed_whole_is_checked_as_well(version, record, verdict):
    assert record.ByteSize() > 1 << 20
    found = version.place().warm(record).judged()
    assert (found.verdict, found.warnings) == (verdict, ())


def test_checksums_are_those_tensorflow_computes():
    for data in (b"", b"a", bytes(range(256)) * 5):
        assert tfrecord.masked(google_crc32c.value(data)) == crc32c.masked(data)


def test_checksums_are_computed_by_the_extension():
    assert google_crc32c.implementation == "c", "the fallback in Python takes a minute for a file of 10 MB"
