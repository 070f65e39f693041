"""Flags, HTTP, TFRecord and status messages: bytes in, values out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import savedmodels
from tests.modelserver import flags, http_wire, model_status, serving_map, status, tfrecord
from tests.modelserver.monitor import ServableId, ServableState, State
from tests.modelserver.protos import get_model_status_pb2


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--port=1"], "port", 1),
        (["--enable_batching"], "enable_batching", True),
        (["--enable_batching=false"], "enable_batching", False),
        (["--model_name=a=b"], "model_name", "a=b"),
        (["--num_load_threads", "4"], "num_load_threads", 0),
    ],
)
def test_flags(arguments: list[str], name: str, value: object) -> None:
    assert getattr(flags.parse(arguments).flags, name) == value


def test_what_is_wrong_with_flags() -> None:
    assert flags.parse(["--port=x"]).bad_value
    assert flags.parse(["--enable_batching=yes"]).bad_value
    assert flags.parse(["--grpc_max_threads", "64"]).unknown == "--grpc_max_threads"
    assert flags.parse(["--new_flag=1", "--port=2"]).flags.port == 2
    assert "--port=8500" in flags.usage("server")


def test_an_http_request_in_pieces() -> None:
    raw = b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 5\r\nX: y\r\n\r\nhelloGET"
    buffer = bytearray()
    for position in range(len(raw) - 3):
        assert http_wire.take_request(buffer) is None
        buffer += raw[position : position + 1]
    buffer += b"GET"
    taken = http_wire.take_request(buffer)
    assert taken is not None
    request, keep_alive = taken
    assert (request.method, request.target, request.body, keep_alive) == ("POST", "/v1/models/m:predict", b"hello", True)
    assert request.headers["x"] == "y"
    assert buffer == b"GET"


def test_a_chunked_body_and_a_connection_that_closes() -> None:
    raw = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    taken = http_wire.take_request(bytearray(raw))
    assert taken is not None
    assert (taken[0].body, taken[1]) == (b"abcde", False)


@pytest.mark.parametrize("raw", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/2\r\n\r\n"])
def test_what_is_no_http_request(raw: bytes) -> None:
    with pytest.raises(http_wire.BadRequest):
        http_wire.take_request(bytearray(raw))


def test_tfrecords_come_back_as_written(tmp_path: Path) -> None:
    records = [b"", b"a", bytes(range(256)) * 40]
    path = tmp_path / "records"
    path.write_bytes(b"".join(map(savedmodels.framed, records)) + b"tail")
    assert list(tfrecord.read(str(path))) == records


def test_a_status_response_is_the_one_protobuf_would_make() -> None:
    error = status.StatusError(status.Code.NOT_FOUND, "gone: ü" + "x" * 300)
    states = [
        ServableState(ServableId("m", -4), State.END, error),
        ServableState(ServableId("m", 2**63 - 1), State.AVAILABLE),
    ]
    expected = get_model_status_pb2.GetModelStatusResponse()
    failed = expected.model_version_status.add(version=-4, state=50)
    failed.status.error_code, failed.status.error_message = 5, error.message
    expected.model_version_status.add(version=2**63 - 1, state=30).status.SetInParent()
    assert model_status.to_wire(states) == expected.SerializeToString()


def test_a_status_response_can_carry_what_protobuf_refuses() -> None:
    error = status.StatusError(status.Code.INVALID_ARGUMENT, status.to_text(b"record: \xff\xfe"))
    assert b"record: \xff\xfe" in model_status.to_wire([ServableState(ServableId("m", 1), State.END, error)])


def test_grpc_details_are_cut_at_1024_bytes() -> None:
    assert status.grpc_details("x" * 1024) == b"x" * 1024
    assert status.grpc_details("x" * 1025) == b"x" * 1024 + b"...TRUNCATED"


def test_requests_without_a_version_find_nothing_in_an_empty_map() -> None:
    with (
        pytest.raises(status.StatusError, match=r"Servable not found for request: Latest\(m\)"),
        serving_map.ServingMap().handle(serving_map.ServableRequest("m")),
    ):
        pass
