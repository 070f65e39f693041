"""What clients and probes see: GetModelStatus, the REST API, metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import savedmodels
from tests.contract.client import Model, eventually
from tests.contract.server import Server, Start, is_open
from tests.modelserver.protos import get_model_metadata_pb2

pytestmark = pytest.mark.contract

HEALTH = "/grpc.health.v1.Health/Check"


def test_status_of_what_is_not_there(server: Server) -> None:
    """model_servers/get_model_status_impl.cc; measured."""
    answer = server.client.status("nobody")
    assert (answer.code, answer.details) == ("NOT_FOUND", "Could not find any versions of model nobody")
    answer = server.client.status("nobody", 3)
    assert (answer.code, answer.details) == ("NOT_FOUND", "Could not find version 3 of model nobody")
    assert server.client.rest("/v1/models") == (400, {"error": "Missing model name in request."})
    assert server.client.rest("/v1/models/nobody") == (404, {"error": "Could not find any versions of model nobody"})


def test_the_life_of_a_version(server: Server) -> None:
    """Measured: NOT_FOUND for up to 1 s, START, LOADING, AVAILABLE; errors are visible only in END."""
    base_path = server.base_path(_1="half_plus_two")
    for version in range(2, 7):  # enough loads to see START, as one begins per tick
        savedmodels.place("half_plus_two", base_path / str(version))
    server.client.reload(Model("life", base_path, (1,)))
    server.client.reload(Model("life", base_path, (1, 2, 3, 4, 5, 6)))
    seen = {"START", "LOADING", "AVAILABLE"}
    eventually(lambda: set(server.client.states("life").values()), lambda states: "START" in states and states <= seen)
    eventually(lambda: set(server.client.states("life").values()), {"AVAILABLE"})
    assert all(entry.code == 0 and entry.message == "" for entry in server.client.versions("life").values())


def test_rest_status_is_200_for_a_failed_model(server: Server) -> None:
    """Measured: 200 for END with an error and for removed models; /metadata alone tells the truth."""
    bad = server.model("rest-bad")
    savedmodels.spoil(bad.base_path / "1", "no saved_model.pb")
    server.client.reload(bad)
    code, answer = server.client.rest("/v1/models/rest-bad")
    entry = answer["model_version_status"][0]
    assert (code, entry["version"], entry["state"]) == (200, "1", "END")
    assert entry["status"]["error_code"] == "NOT_FOUND"
    assert server.client.rest("/v1/models/rest-bad/metadata")[0] == 404
    assert server.client.rest("/v1/models/rest-bad/versions/1/metadata")[0] == 404


def test_rest_paths_of_a_loaded_model(server: Server) -> None:
    """model_servers/http_rest_api_util.cc; measured."""
    model = server.model("rest")
    server.client.reload(model)
    expected = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/rest", "/v1/models/rest/versions/1"):
        assert server.client.rest(path) == (200, {"model_version_status": [expected]})
    assert server.client.rest("/v1/models/rest/versions/9")[0] == 404
    code, metadata = server.client.rest("/v1/models/rest/metadata")
    assert code == 200
    assert (metadata["model_spec"]["name"], metadata["model_spec"]["version"]) == ("rest", "1")
    assert "serving_default" in metadata["metadata"]["signature_def"]["signature_def"]
    assert server.client.rest("/v1/models/rest/versions/1/metadata")[0] == 200
    assert server.client.rest("/v1/models/rest/versions/9/metadata")[0] == 404


def test_rest_predictions(server: Server) -> None:
    """util/json_tensor.cc: rows, columns, classify, regress."""
    server.client.reload(server.model("p"))
    rest = server.client.rest
    assert rest("/v1/models/p:predict", {"instances": [1.0, 2.0, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert rest("/v1/models/p/versions/1:predict", {"instances": [{"x": 1}]}) == (200, {"predictions": [2.5]})
    assert rest("/v1/models/p:predict", {"inputs": {"x": [1.0, 2.0]}}) == (200, {"outputs": [2.5, 3.0]})
    examples = {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert rest("/v1/models/p:regress", examples) == (200, {"results": [2.5, 3.0]})
    examples["signature_name"] = "classify_x_to_y"
    assert rest("/v1/models/p:classify", examples) == (200, {"results": [[["", 2.5]], [["", 3.0]]]})


def test_rest_predictions_of_other_shapes(server: Server) -> None:
    """util/json_tensor.cc: several inputs and outputs, strings, bytes."""
    text, two = Model("text", server.base_path(_1="text")), Model("two", server.base_path(_1="two_inputs"))
    server.client.reload(text, two)
    code, answer = server.client.rest("/v1/models/text:predict", {"instances": ["ab", {"b64": "YWJj"}]})
    assert code == 200
    assert answer["predictions"] == [
        {"upper": "AB", "length": 2, "raw_bytes": {"b64": "YWI="}},
        {"upper": "ABC", "length": 3, "raw_bytes": {"b64": "YWJj"}},
    ]
    instances = [{"x": [1.0, 2.0], "z": 2}, {"x": [0.0, 0.0], "z": 1}]
    code, answer = server.client.rest("/v1/models/two:predict", {"instances": instances})
    assert (code, answer) == (200, {"predictions": [{"sum": 6.0, "z": 2}, {"sum": 0.0, "z": 1}]})
    columns = {"x": [[1.0, 2.0]], "z": [2]}
    assert server.client.rest("/v1/models/two:predict", {"inputs": columns}) == (
        200,
        {"outputs": {"sum": [6.0], "z": [2]}},
    )


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        pytest.param("/v1/models/nobody:predict", {"instances": [1.0]}, 404, id="unknown model"),
        pytest.param("/v1/models/e/versions/9:predict", {"instances": [1.0]}, 404, id="unknown version"),
        pytest.param("/v1/models/e:predict", {"instances": ["a"]}, 400, id="element of another type"),
        pytest.param("/v1/models/e:predict", b"no JSON", 400, id="no JSON"),
        pytest.param("/v1/models/e:predict", {}, 400, id="neither instances nor inputs"),
        pytest.param("/v1/models/e", {}, 400, id="POST without a verb"),
        pytest.param("/v1/nothing", None, 400, id="no such path in the API"),
        pytest.param("/nothing", None, 404, id="outside the API"),
    ],
)
def test_rest_errors(server: Server, path: str, body: object, code: int) -> None:
    """model_servers/http_server.cc maps codes to HTTP; measured for unknown models, versions and bad elements."""
    server.client.reload(server.model("e"))
    answer = server.client.rest(path, body)
    assert answer[0] == code
    if path.startswith("/v1/"):
        assert list(answer[1]) == ["error"]


def test_grpc_inference(server: Server) -> None:
    """servables/tensorflow/{predict_util,classifier,regressor,multi_inference}.cc."""
    server.client.reload(server.model("g"))
    for method, signature, field in (
        ("Classify", "classify_x_to_y", "classifications"),
        ("Regress", "regress_x_to_y", "regressions"),
    ):
        log = savedmodels.example_record(method.lower(), signature, 1.0, 2.0)
        request = getattr(log, f"{method.lower()}_log").request
        request.model_spec.name = "g"
        answer = server.client.call(method, request)
        assert answer.code == "OK", answer
        assert len(getattr(answer.value.result, field)) == 2
        assert answer.value.model_spec.version.value == 1
    request = savedmodels.predict_record("nope", model="g", x=[1.0]).predict_log.request
    failed = server.client.call("Predict", request)
    assert (failed.code, failed.details) == ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.')


def test_grpc_metadata(server: Server) -> None:
    """servables/tensorflow/get_model_metadata_impl.cc."""
    server.client.reload(server.model("meta"))
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "meta"
    answer = server.client.call("GetModelMetadata", request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.value.metadata["signature_def"].Unpack(signatures)
    assert {name: entry.method_name for name, entry in signatures.signature_def.items() if name[0] != "_"} == {
        "serving_default": "tensorflow/serving/predict",
        "classify_x_to_y": "tensorflow/serving/classify",
        "regress_x_to_y": "tensorflow/serving/regress",
    }
    request.model_spec.name = "nobody"
    assert server.client.call("GetModelMetadata", request).code == "NOT_FOUND"


def test_status_polling_is_cheap(server: Server) -> None:
    """Measured: 0.3 ms a call; the bound here only excludes that something waits."""
    server.client.reload(server.model("cheap"))
    assert sum(server.client.status("cheap").seconds for _ in range(20)) < 2.0


def test_metrics_page(start: Start, directory: Path) -> None:
    """util/prometheus_exporter.cc: names begin with a colon; a status GET counts as a request. Measured."""
    monitoring = directory / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }')
    server = start(flags={"monitoring_config_file": str(monitoring)}, directory=directory)
    server.client.reload(server.model("counted"))
    server.client.rest("/v1/models/counted:predict", {"instances": [1.0]})
    server.client.rest("/v1/models/counted")
    server.client.predict("counted")
    code, page = server.client.rest("/monitoring/prometheus/metrics")
    assert code == 200
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert ':tensorflow:serving:request_count{model_name="counted",status="OK"} 3' in page
    latency = ':tensorflow:serving:request_latency_count{{model_name="counted",API="{}",entrypoint="{}"}} 1'
    for api, entrypoint in (("predict", "REST"), ("", "REST"), ("Predict", "GRPC")):
        assert latency.format(api, entrypoint) in page


def test_a_bad_monitoring_config_leaves_grpc_alone(start: Start, directory: Path) -> None:
    """It is read after gRPC has opened. Measured: gRPC works fully, REST is refused, the process lives."""
    monitoring = directory / "monitoring.config"
    monitoring.write_text("prometheus_config { nonsense")
    server = start(flags={"monitoring_config_file": str(monitoring)}, directory=directory, wait=False)
    eventually(lambda: is_open(server.grpc_port), True)
    assert server.client.reload(server.model("still")).code == "OK"
    assert server.client.predict("still").code == "OK"
    assert not is_open(server.rest_port)
    assert server.process.alive
    assert f"Invalid protobuf file: '{monitoring}'" in server.process.log


def test_one_rest_thread_accepts_and_never_answers(start: Start) -> None:
    """util/net_http: the event loop takes the only thread. Measured."""
    server = start(flags={"rest_api_num_threads": "1"})
    with pytest.raises(TimeoutError):
        server.client.rest("/v1/models/any", timeout=2.0)
    assert server.client.status("any").code == "NOT_FOUND"


def test_health_service(start: Start) -> None:
    """Measured with the flag: SERVING for "", ModelService, PredictionService; names are not package-qualified."""
    server = start(flags={"enable_grpc_healthcheck_service": "true"})
    for service in ("", "ModelService", "PredictionService"):
        assert server.client.call_raw(HEALTH, _health_request(service)).value == b"\x08\x01"
    assert server.client.call_raw(HEALTH, _health_request("tensorflow.serving.PredictionService")).code == "NOT_FOUND"


def test_without_the_flag_there_is_no_health_service(server: Server) -> None:
    """Measured: UNIMPLEMENTED."""
    assert server.client.call_raw(HEALTH, b"").code == "UNIMPLEMENTED"


def _health_request(service: str) -> bytes:
    raw = service.encode()
    return bytes([0x0A, len(raw)]) + raw if raw else b""


def test_status_request_without_a_model(server: Server) -> None:
    """model_servers/get_model_status_impl.cc."""
    answer = server.client.call_raw("/tensorflow.serving.ModelService/GetModelStatus", b"")
    assert (answer.code, answer.details) == ("INVALID_ARGUMENT", "Missing ModelSpec")
