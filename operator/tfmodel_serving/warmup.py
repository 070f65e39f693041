"""The warmup file ``assets.extra/tf_serving_warmup_requests``, checked as the model server will run it.

Any error in it fails the load of the version, and a length that is wrong kills the whole server; so every record is checked
against the signature it names. What the server accepts is never refused: another shape than the signature's, an empty
record and a short tail are warnings.

Source: tensorflow/serving, servables/tensorflow/{saved_model_warmup.cc,saved_model_warmup_util.cc,predict_util.cc,
classifier.cc,regressor.cc,multi_inference.cc,util.cc}, g3doc/saved_model_warmup.md; measured on r2.20.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from tfmodel_serving import prediction_log, tfrecord, wire
from tfmodel_serving.problems import Broken, Reason, Unfinished
from tfmodel_serving.protos import saved_model_pb2 as pb
from tfmodel_serving.signatures import Signature

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000
"""WarmupConsts::kMaxNumRecords"""
MAX_WARNINGS = 10


class Policy(enum.StrEnum):
    """What a warmup file means for the verdict on a version."""

    REQUIRED = "Required"  # without one there is no verdict but WarmupMissing
    IF_PRESENT = "IfPresent"  # checked if there is one
    IGNORE = "Ignore"  # its faults are warnings, but for one that would kill the model server


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of a warmup file.

    Args:
        min_records: Records wanted where the policy is Required; one at least.
        max_batch_size: The server's; 0 if it doesn't batch, or splits large batches.
    """

    policy: Policy = Policy.IF_PRESENT
    min_records: int = 0
    max_batch_size: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Warmup:
    """What is known of a version's warmup file.

    Args:
        records: Number of its records; 0 without a file.
    """

    records: int = 0
    warnings: tuple[str, ...] = ()


def check_missing(rules: Rules) -> None:
    """Judge a version without warmup file.

    Raises:
        Unfinished: The policy wants one; it may still be copied.
    """
    if rules.policy is Policy.REQUIRED:
        wanted = f" with at least {rules.min_records} records" if rules.min_records > 1 else ""
        raise Unfinished(f"{FILE} is missing, and warmup is Required{wanted}", Reason.WARMUP_MISSING)


def check(window: wire.Window, signatures: Mapping[str, Signature] | None, rules: Rules) -> Warmup:
    """Check every record.

    Args:
        signatures: Of the version, or None if they are not known: then requests are not compared with them.

    Raises:
        Problem: What the model server would fail on, with reason WarmupInvalid or WarmupMissing.
    """
    found = _Found()
    try:
        _run(window, signatures, rules.max_batch_size, found)
    except (tfrecord.CutShort, wire.Truncated) as error:
        # The server believes the length and asks for as much memory: no policy may let that through.
        raise Unfinished(f"{FILE}: {error}", Reason.WARMUP_INVALID) from error
    except (tfrecord.Corrupt, prediction_log.Refused) as error:
        if rules.policy is not Policy.IGNORE:
            raise Broken(f"{FILE}: {error}", Reason.WARMUP_INVALID) from error
        found.warn(f"{error}: the model server fails to load the version, unless its warmup is off")
    wanted = max(1, rules.min_records)
    if rules.policy is Policy.REQUIRED and found.records < wanted:
        raise Unfinished(f"{FILE} has {found.records} of at least {wanted} records", Reason.WARMUP_MISSING)
    return Warmup(found.records, tuple(found.warnings))


class _Found:
    """What the records said before one of them was refused."""

    def __init__(self) -> None:
        self.records = 0
        self.warnings: list[str] = []

    def warn(self, warning: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(warning)
        elif len(self.warnings) == MAX_WARNINGS:
            self.warnings.append("and more of the kind")


def _run(window: wire.Window, signatures: Mapping[str, Signature] | None, max_batch_size: int, found: _Found) -> None:
    end = 0
    for number, record in enumerate(tfrecord.records(window), start=1):
        if number > MAX_RECORDS:
            raise prediction_log.Refused(f"it has more than {MAX_RECORDS} records, which is all the model server takes")
        try:
            for warning in _check(window, record, signatures, max_batch_size):
                found.warn(f"record {number}: {warning}")
        except prediction_log.Refused as error:
            raise prediction_log.Refused(f"record {number}: {error}") from error
        found.records, end = number, record.end
    if window.size > end:
        found.warn(f"{window.size - end} stray bytes follow the last record")


def _check(
    window: wire.Window, record: tfrecord.Record, signatures: Mapping[str, Signature] | None, max_batch_size: int
) -> list[str]:
    if record.length > wire.MAX_MESSAGE_BYTES:
        raise prediction_log.Refused(f"it has {record.length} bytes, more than a protobuf message may have")
    whole = record.data is not None
    try:
        data = record.data if record.data is not None else _pruned(window, record)
        log = wire.parse(pb.PredictionLog, data)
    except wire.Truncated:
        raise  # of the file: a record's own end is never the file's, its checksum follows
    except wire.Malformed as error:
        raise prediction_log.Refused("it is no PredictionLog") from error
    except wire.TooComplex as error:
        return [f"it is too large to be looked into: {error}"]
    return prediction_log.check(log, signatures, max_batch_size, is_whole=whole)


def _pruned(window: wire.Window, record: tfrecord.Record) -> bytes:
    return wire.pruned(window, record.start, record.start + record.length, pb.PredictionLog.DESCRIPTOR)
