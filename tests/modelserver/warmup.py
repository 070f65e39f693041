"""Replays recorded requests against a version before it becomes AVAILABLE.

Sources: servables/tensorflow/saved_model_warmup.cc and saved_model_warmup_util.cc. Any error here fails the load.
"""

# os.path answers as access(2) does, where pathlib raises for what may not be looked at:
# ruff: noqa: PTH110
from __future__ import annotations

import os
import time

from google.protobuf.message import DecodeError

from tests.modelserver import examples, inference, log, metrics, status, tfrecord
from tests.modelserver.bundle import Bundle
from tests.modelserver.protos import prediction_log_pb2

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def run(version_path: str, bundle: Bundle, iterations: int) -> None:
    """Run every record of the version's warm-up file, if there is one, ``iterations`` times."""
    path = os.path.join(version_path, FILE)
    if not os.path.exists(path):
        log.info("warmup", f"No warmup data file found at {path}")
        return
    log.info("warmup", f"Starting to read warmup data for model at {path}")
    started = time.monotonic()
    records = tfrecord.read(path)
    count = 0
    unreadable: status.StatusError | None = None
    while True:
        try:
            record = next(records, None)
        except status.StatusError as failure:
            unreadable = failure
            break
        if record is None:
            break
        prediction_log = _parse(record, path)
        for _ in range(iterations):
            _replay(prediction_log, bundle)
        count += 1
        if count > MAX_RECORDS:  # that is: after record 1001 has been run
            raise status.invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    # Only what gets here is counted: a record that is refused leaves no trace in the metrics.
    micros = (time.monotonic() - started) * 1e6
    outcome = str(unreadable) if unreadable else "OK"
    metrics.model_warmup_latency.add(micros, version_path, outcome)
    metrics.model_warmup_records_read.increment(count, version_path, outcome)
    if unreadable:
        advice = ""
        if unreadable.code is status.Code.DATA_LOSS:
            advice = ". Please verify your warmup data is in TFRecord format."
        raise status.StatusError(unreadable.code, unreadable.message + advice)
    log.info(
        "warmup",
        f"Finished reading warmup data for model at {path}. Number of warmup records read: {count}. "
        f"Elapsed time (microseconds): {micros:.0f}.",
    )


def _parse(record: bytes, path: str) -> prediction_log_pb2.PredictionLog:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        # The message quotes the record: bytes that are no UTF-8, in a field that is declared to be.
        raise status.invalid_argument(f"Failed to parse warmup record: {status.to_text(record)} from {path}") from error


def _replay(prediction_log: prediction_log_pb2.PredictionLog, bundle: Bundle) -> None:
    kind = prediction_log.WhichOneof("log_type")
    if kind == "predict_log":
        inference.predict(bundle, None, prediction_log.predict_log.request)
    elif kind == "classify_log":
        examples.classify(bundle, None, prediction_log.classify_log.request)
    elif kind == "regress_log":
        examples.regress(bundle, None, prediction_log.regress_log.request)
    elif kind == "multi_inference_log":
        examples.multi_inference(bundle, None, prediction_log.multi_inference_log.request)
    elif kind is not None:  # predict_streamed_log, session_run_log; an empty record has no kind and does nothing
        number = prediction_log.DESCRIPTOR.fields_by_name[kind].number
        raise status.StatusError(status.Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
