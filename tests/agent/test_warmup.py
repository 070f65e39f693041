"""Bad warmup files never reach the model server, whatever is wrong with them, and the state says what it is.

The files are those that the contract tests show to fail a load, to break the status call, or to kill the server.
"""

from __future__ import annotations

import pytest

from tests import savedmodels
from tests.agent.load import Load
from tests.contract.test_files import BAD_WARMUPS, X

MAX_BATCH_SIZE = 4

SAID = {
    "1001 records": "it has more than 1000 records",
    "unknown signature": "record 1: the model has no signature nope",
    "wrong input name": "record 1: its inputs are {z}, and the signature's are {x}",
    "extra input": "record 1: its inputs are {x, z}, and the signature's are {x}",
    "missing input": "record 1: its inputs are {}, and the signature's are {x}",
    "wrong type": "record 1: its input x is DT_INT64, and the signature says DT_FLOAT",
    "session_run_log": "record 1: the model server does not take a session_run_log",
    "gzip": "it is compressed with gzip",
    "bad checksum of the length": "record 1 (at byte 0): the checksum of its length is wrong",
    "bad checksum of the data": "record 1 (at byte 0): the checksum of its data is wrong",
    "bad checksum of the second record": "the checksum of its data is wrong",
    "truncated data": "bytes, and ",
    "unparsable": "record 1: it is no PredictionLog",
    "batch too large": f"record 1: its input x is a batch of 8, and maxBatchSize is {MAX_BATCH_SIZE}",
    "length 2^60": f"record 1 (at byte 0) says it has {2**60} bytes, and 5 follow",
}

WRITERS = {case: write for case, (write, _, _) in BAD_WARMUPS.items()} | {
    "unparsable": lambda path: savedmodels.write_warmup(path, [b"\xff\xfe\x80 not a PredictionLog"]),
    "batch too large": lambda path: savedmodels.write_warmup(path, [savedmodels.predict_record(x=[1.0] * 8)]),
    "length 2^60": lambda path: savedmodels.write_warmup_file(path, savedmodels.framed(b"x", length=2**60)),
}


@pytest.mark.timeout(180)
def test_bad_warmup_files_of_each_kind_beside_a_good_model(pod):
    names = {case: f"bad{number}" for number, case in enumerate(WRITERS)}
    for case, write in WRITERS.items():
        write(pod.put(1, name=names[case]))
    with Load(f"127.0.0.1:{pod.rest_port}", f"127.0.0.1:{pod.grpc_port}") as clients:
        pod.serve(pod.model(), *(pod.model(name) for name in names.values()), max_batch_size=MAX_BATCH_SIZE)
        for case, name in names.items():  # what looks cut short may still be copied, for half a minute
            found = pod.wait_for(f"the verdict on {case}", lambda name=name: judged(pod, name), timeout=60)
            assert (found["verdict"], found["reason"], found["state"]) == ("Rejected", "WarmupInvalid", ""), case
            assert found["message"].startswith("assets.extra/tf_serving_warmup_requests"), case
            assert SAID[case] in found["message"], case
        assert not any((pod.view / name).exists() for name in names.values()), "no server has ever heard of them"
        assert pod.server.alive
        mended = names["length 2^60"]
        savedmodels.write_warmup(pod.volume / mended / "1", [X])
        pod.wait_serving(1, name=mended)
        assert pod.version(1, mended)["warmup_records"] == 1
    assert clients.failures == []
    assert clients.answers > 1000


def test_an_error_of_many_megabytes_is_nobody_elses_trouble(pod):
    """The server quotes a record that it can't parse in the status of the version, for ever."""
    savedmodels.write_warmup(pod.put(1, name="fat"), [b"\xff\xfe\x80" * 2_000_000])
    pod.serve(pod.model(), pod.model("fat"), warmup_policy="Ignore")
    failed = pod.wait_for("the failed load", lambda: pod.version(1, "fat") if pod.version(1, "fat").get("state") == "END" else None)
    assert failed["message"].startswith("failed to load: Failed to parse warmup record")
    assert len(failed["message"]) <= 512
    pod.put(2)
    pod.wait_for("the other model's next version", lambda: pod.available() == {2})


def judged(pod, name):
    """Return what the agent says of version 1, once that is final."""
    found = pod.version(1, name)
    return found if found.get("verdict") == "Rejected" else None


def test_a_version_without_the_required_warmup_waits_for_it(pod):
    pod.serve(pod.model(), warmup_policy="Required", min_records=2)
    pod.wait_for("version 1 to lack its warmup", lambda: "is missing" in str(pod.version(1)["warnings"]))
    assert (pod.version(1)["verdict"], pod.available()) == ("Verified", {1}), "it serves already"
    version = pod.put(2)
    pod.wait_for("version 2 to be looked at", lambda: "tf_serving_warmup_requests is missing" in pod.version(2).get("message", ""))
    savedmodels.write_warmup(version, [X])
    pod.wait_for("its records to be counted", lambda: "has 1 of at least 2 records" in pod.version(2)["message"])
    savedmodels.write_warmup(version, [X, X])
    pod.wait_serving(2)
    assert pod.version(2)["warmup_records"] == 2
