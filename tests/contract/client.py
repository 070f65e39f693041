"""A client of one model server, over gRPC and REST, with answers that are easy to compare."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc

from tests import savedmodels
from tests.modelserver.protos import (
    get_model_status_pb2,
    model_management_pb2,
    model_server_config_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

_T = TypeVar("_T")

# One poll of the base paths (1 s) and one tick of the manager (0.1 s), and as much again for a machine that is busy.
SETTLED_SECONDS = 2.5
PATIENCE_SECONDS = 20.0
# Long enough for a poll and a tick to have made a change that must not come.
UNCHANGED_SECONDS = 1.5


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call ended: ``code`` is "OK" or the name of a gRPC code; ``seconds`` is what it took."""

    code: str
    details: str
    seconds: float
    value: Any = None

    def __str__(self) -> str:
        return f"{self.code} {self.details!r} after {self.seconds:.2f} s"


@dataclasses.dataclass(frozen=True)
class VersionState:
    """A version as GetModelStatus shows it."""

    state: str
    code: int
    message: str


@dataclasses.dataclass(frozen=True)
class Model:
    """An entry of the model config list; fields as in the original, with the platform filled in."""

    name: str
    base_path: Any
    versions: tuple[int, ...] | None = None  # specific; None leaves the policy out (latest 1)
    all_versions: bool = False
    labels: Mapping[str, int] | None = None
    platform: str = "tensorflow"
    model_type: int = 0
    logging: bool = False

    def fill(self, config: Any) -> None:
        """Fill a ModelConfig message."""
        config.name, config.base_path, config.model_platform = self.name, str(self.base_path), self.platform
        config.model_type = self.model_type
        if self.versions is not None:
            config.model_version_policy.specific.SetInParent()
            config.model_version_policy.specific.versions.extend(self.versions)
        if self.all_versions:
            config.model_version_policy.all.SetInParent()
        for label, version in (self.labels or {}).items():
            config.version_labels[label] = version
        if self.logging:
            config.logging_config.SetInParent()


def config_of(*models: Model) -> Any:
    """Return a ModelServerConfig that lists ``models``."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for model in models:
        model.fill(config.model_config_list.config.add())
    return config


class Client:
    """Talks to one server. Calls never raise for what the server answers; they return it."""

    def __init__(self, grpc_port: int, rest_port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}", options=[("grpc.enable_retries", 0)])
        self._rest_port = rest_port
        self._models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()

    def reload(self, *models: Model, timeout: float = PATIENCE_SECONDS) -> Outcome:
        """Replace the configuration and wait for the answer."""
        request = model_management_pb2.ReloadConfigRequest(config=config_of(*models))
        return _outcome(lambda: self._models.HandleReloadConfigRequest(request, timeout=timeout))

    def reload_raw(self, request: Any, timeout: float = PATIENCE_SECONDS) -> Outcome:
        """Send a ReloadConfigRequest as it is."""
        return _outcome(lambda: self._models.HandleReloadConfigRequest(request, timeout=timeout))

    def reload_later(self, *models: Model, timeout: float = PATIENCE_SECONDS) -> Any:
        """Send a reload and return its future; with a short timeout it is an abandoned one."""
        request = model_management_pb2.ReloadConfigRequest(config=config_of(*models))
        return self._models.HandleReloadConfigRequest.future(request, timeout=timeout)

    def status(self, name: str, version: int | None = None, timeout: float = 5.0) -> Outcome:
        """Call GetModelStatus."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        if version is not None:
            request.model_spec.version.value = version
        return _outcome(lambda: self._models.GetModelStatus(request, timeout=timeout))

    def versions(self, name: str) -> dict[int, VersionState]:
        """Return the model's versions, {} while the server has not heard of any."""
        answer = self.status(name)
        if answer.code == "NOT_FOUND":
            return {}
        assert answer.code == "OK", answer
        states = get_model_status_pb2.ModelVersionStatus.State
        return {
            entry.version: VersionState(states.Name(entry.state), entry.status.error_code, entry.status.error_message)
            for entry in answer.value.model_version_status
        }

    def states(self, name: str) -> dict[int, str]:
        """Return only the states: ``{1: "AVAILABLE"}``; a failed load is "END:<code>"."""
        return {
            version: f"{seen.state}:{seen.code}" if seen.code else seen.state for version, seen in self.versions(name).items()
        }

    def predict(self, model: str, version: int | None = None, label: str | None = None, timeout: float = 5.0) -> Outcome:
        """Predict for x = 1; ``value`` is (y, version that answered)."""
        request = savedmodels.predict_record(model=model, x=[1.0]).predict_log.request
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        answer = _outcome(lambda: self._predictions.Predict(request, timeout=timeout))
        if answer.code != "OK":
            return answer
        value = (answer.value.outputs["y"].float_val[0], answer.value.model_spec.version.value)
        return dataclasses.replace(answer, value=value)

    def call(self, method: str, request: Any, timeout: float = 5.0) -> Outcome:
        """Call another method of PredictionService."""
        return _outcome(lambda: getattr(self._predictions, method)(request, timeout=timeout))

    def call_raw(self, method: str, request: bytes, timeout: float = 5.0) -> Outcome:
        """Call a method by its full name, with bytes."""
        return _outcome(lambda: self.channel.unary_unary(method, bytes, bytes)(request, timeout=timeout))

    def rest(self, path: str, body: Any = None, timeout: float = 5.0) -> tuple[int, Any]:
        """GET a path, or POST a JSON body to it; return code and parsed answer (text where it is no JSON)."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self._rest_port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET" if data is None else "POST", path, data)
            response = connection.getresponse()
            code, text = response.status, response.read().decode()
        try:
            return code, json.loads(text)
        except json.JSONDecodeError:
            return code, text


def _outcome(call: Callable[[], Any]) -> Outcome:
    started = time.monotonic()
    try:
        value = call()
    except grpc.RpcError as error:
        return Outcome(error.code().name, error.details() or "", time.monotonic() - started)
    return Outcome("OK", "", time.monotonic() - started, value)


def eventually(seen: Callable[[], _T], wanted: _T | Callable[[_T], bool], timeout: float = PATIENCE_SECONDS) -> float:
    """Wait until ``seen()`` is ``wanted`` (or satisfies it); return the seconds that took."""
    started = time.monotonic()
    while True:
        value = seen()
        if wanted(value) if callable(wanted) else value == wanted:
            return time.monotonic() - started
        if time.monotonic() - started > timeout:
            raise AssertionError(f"after {timeout} s still {value!r}, not {wanted!r}")
        time.sleep(0.02)


def stays(seen: Callable[[], _T], wanted: _T, seconds: float) -> None:
    """Check that ``seen()`` is ``wanted`` now and for some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = seen()
        assert value == wanted, f"{value!r}, not {wanted!r}"
        time.sleep(0.05)
