"""The REST API (model_servers/http_server.cc, http_rest_api_handler.cc, http_rest_api_util.cc)."""

from __future__ import annotations

import dataclasses
import re
import time
import urllib.parse
from typing import Any

from tests.modelserver import (
    examples,
    inference,
    json_requests,
    json_responses,
    metrics,
    model_status,
    services,
    status,
)
from tests.modelserver.core import ServerCore
from tests.modelserver.protos import (
    classification_pb2,
    config_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

_Headers = tuple[tuple[str, str], ...]

_SELECTOR = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(rf"/v1/models/(?P<model>[^/:]+){_SELECTOR}:(?P<verb>classify|regress|predict)", re.I | re.ASCII)
_GET = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_SELECTOR}(?:/(?P<part>metadata))?", re.I | re.ASCII)
_API = re.compile(r"/v1/.*", re.I | re.S)
_DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
_JSON: _Headers = (("Content-Type", "application/json"),)
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)


@dataclasses.dataclass(frozen=True)
class Request:
    """An HTTP request, whole; ``target`` is path and query, header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Response:
    """An HTTP response."""

    code: int
    headers: _Headers
    body: bytes


class RestApi:
    """Answers HTTP requests.

    Args:
        monitoring: MonitoringConfig; without ``prometheus_config.enable`` there is no metrics page.
    """

    def __init__(self, core: ServerCore, timeout_millis: int, cors: bool, monitoring: Any) -> None:
        self._core = core
        self._cors = cors
        self._run_options = b""
        if timeout_millis > 0:
            self._run_options = config_pb2.RunOptions(timeout_in_ms=timeout_millis).SerializeToString()
        prometheus = monitoring.prometheus_config
        self._metrics_path = (prometheus.path or _DEFAULT_METRICS_PATH) if prometheus.enable else None

    def serves(self, target: str) -> bool:
        """Whether there is a handler at all; if not, the HTTP server itself answers 404."""
        return target.partition("?")[0] == self._metrics_path or _API.fullmatch(target) is not None

    def answer(self, request: Request) -> Response:
        """Answer one request; blocks as long as the model takes."""
        if request.target.partition("?")[0] == self._metrics_path:
            return self._metrics_page(request)
        started = time.monotonic()
        call = _Call(self._core, self._run_options)
        outcome: status.StatusError | None = None
        headers: _Headers = _JSON
        try:
            if request.method == "OPTIONS":
                headers = ()
                text = _preflight(request)
            else:
                text = call.process(request)
        except status.StatusError as failure:
            outcome = failure
            text = "" if request.method == "OPTIONS" else json_responses.error(failure)
        code = outcome.code if outcome else status.Code.OK
        if outcome is None:
            micros = (time.monotonic() - started) * 1e6
            metrics.request_latency.add(micros, call.model, call.verb, "REST")
        metrics.request_count.increment(1, call.model, code.name)  # status and metadata requests count, too
        return Response(status.http_code(code), headers + (_CORS if self._cors else ()), text.encode())

    def _metrics_page(self, request: Request) -> Response:
        plain = (("Content-Type", "text/plain"),)
        if request.target != self._metrics_path:
            text = f"Unexpected path: {request.target}. Should be {self._metrics_path}"
            return Response(400, plain, text.encode())
        return Response(200, plain, metrics.page().encode("utf-8", "replace"))


def _preflight(request: Request) -> str:
    if not re.search("https?://", request.headers.get("origin", "")):
        raise status.StatusError(status.Code.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
    return ""


class _Call:
    """One request; remembers model and verb for the metrics, which also count requests that fail half-way."""

    def __init__(self, core: ServerCore, run_options: bytes) -> None:
        self._core = core
        self._run_options = run_options
        self.model = ""
        self.verb = ""

    def process(self, request: Request) -> str:
        """Return the body of a successful answer."""
        pattern = {"POST": _POST, "GET": _GET}.get(request.method)
        match = pattern.fullmatch(request.target) if pattern else None
        if match is None:
            raise status.invalid_argument(f"Malformed request: {request.method} {request.target}")
        parts = match.groupdict()
        self.model = urllib.parse.unquote(parts["model"] or "")
        if request.method == "POST":
            self.verb = parts["verb"]
            return self._infer(parts, request.body)
        if not self.model:
            raise status.invalid_argument("Missing model name in request.")
        if parts["part"]:
            return self._metadata(parts)
        return self._status(parts)

    def _infer(self, parts: dict[str, str], body: bytes) -> str:
        if self.verb == "classify":
            request = classification_pb2.ClassificationRequest()
            self._fill_spec(request.model_spec, parts)
            json_requests.fill_example_request(body, request)
            response = services.run(self._core, examples.classify, request, self._run_options)
            return json_responses.classifications(response.result)
        if self.verb == "regress":
            request = regression_pb2.RegressionRequest()
            self._fill_spec(request.model_spec, parts)
            json_requests.fill_example_request(body, request)
            response = services.run(self._core, examples.regress, request, self._run_options)
            return json_responses.regressions(response.result)
        request = predict_pb2.PredictRequest()
        if self.verb != "predict":  # the path matched in another case, which the dispatch does not
            raise status.invalid_argument(f"Malformed request: POST {self.model}")
        self._fill_spec(request.model_spec, parts)
        layout = json_requests.fill_predict_request(
            body, request, lambda signature: services.inputs_of(self._core, request.model_spec, signature)
        )
        response = services.run(self._core, inference.predict, request, self._run_options)
        return json_responses.predictions(response.outputs, layout)

    def _status(self, parts: dict[str, str]) -> str:
        request = get_model_status_pb2.GetModelStatusRequest()
        self._fill_spec(request.model_spec, parts)
        return json_responses.model_status(model_status.to_json(model_status.states(request, self._core.states)))

    def _metadata(self, parts: dict[str, str]) -> str:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill_spec(request.model_spec, parts)
        return json_responses.metadata(services.metadata(self._core, request))

    def _fill_spec(self, spec: Any, parts: dict[str, str]) -> None:
        spec.name = self.model
        if parts["version"]:
            if int(parts["version"]) >= 2**63:
                raise status.invalid_argument(f"Failed to convert version: {parts['version']} to numeric.")
            spec.version.value = int(parts["version"])
        if parts["label"]:
            spec.version_label = urllib.parse.unquote(parts["label"])
