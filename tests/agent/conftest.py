"""A pod without a cluster: a model server and an agent as processes, with the flags that the planner gives them.

The server is the stand-in, or the real one: BINARY=/usr/bin/tensorflow_model_server, as for the contract tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests import savedmodels
from tests.contract.launch import Constraints, Launcher, Running
from tests.contract.server import free_ports
from tests.unit.operator.makers import tfmodel
from tfmodel_operator.plan import flags
from tfmodel_serving import agent_config, model_config

ROOT = Path(__file__).resolve().parent.parent.parent
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
DRAIN_TOKEN = "known to the kubelet"  # noqa: S105
T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.agent)


class Pod:
    """One model server and one agent; the directories are the pod's volumes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.volume, self.config, self.view = (directory / name for name in ("volume", "config", "view"))
        for path in (self.volume, self.config, self.view):
            path.mkdir(parents=True)
        (directory / "boot.config").write_text("model_config_list {\n}\n")
        self.grpc_port, self.rest_port, self.agent_port = free_ports(3)
        self.server: Running | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.models: dict[str, model_config.Model] = {}
        self.settings: dict[str, agent_config.ModelSettings] = {}
        self.readiness = agent_config.Readiness.EVERY_MODEL
        self._launcher = Launcher(directory)

    def start_server(self, *more_flags: str) -> None:
        ours = ("--port=", "--rest_api_port=", "--model_config_file=", "--monitoring")
        given = [flag for flag in flags.flags(tfmodel()) if not flag.startswith(ours)]
        given += [f"--port={self.grpc_port}", f"--rest_api_port={self.rest_port}", f"--model_config_file={self.directory}/boot.config"]
        self.server = self._launcher.start([*given, *more_flags], Constraints())

    def start_agent(
        self, drain_seconds: float = 20, interpreter: Sequence[str] = (sys.executable, "-m", "tfmodel_agent")
    ) -> None:
        command = [*interpreter, "work", f"--config={self.config}", f"--view={self.view}"]
        command += [f"--server=127.0.0.1:{self.grpc_port}", "--host=127.0.0.1", f"--port={self.agent_port}", "--pod-uid=test"]
        command += [f"--client-port={port}" for port in (self.grpc_port, self.rest_port)]
        command += [f"--drain-token={DRAIN_TOKEN}", f"--drain-seconds={drain_seconds}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "operator")}
        with (self.directory / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.send_signal(signal.SIGKILL)
        self.agent.wait()

    def stop(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            self.kill_agent()
        if self.server is not None:
            self.server.kill()

    def serve(self, *models: model_config.Model, **settings: Any) -> None:
        """Write the mounted files as the kubelet does: both at once, by a link that is swapped.

        Args:
            settings: Of all models but those with settings of their own in :attr:`settings`.
        """
        self.models = {model.name: model for model in models}
        data = Path(tempfile.mkdtemp(dir=self.config, prefix="..data-"))
        (data / "models.config").write_text(model_config.to_text(models))
        chosen = {name: self.settings.get(name, agent_config.ModelSettings(**settings)) for name in self.models}
        (data / "agent.json").write_text(agent_config.to_json(chosen, self.readiness))
        link = self.config / "..new"
        link.symlink_to(data.name)
        link.replace(self.config / "..data")
        for name in ("models.config", "agent.json"):
            if not (self.config / name).is_symlink():
                (self.config / name).symlink_to(f"..data/{name}")

    def model(self, name: str = "half", policy: model_config.VersionPolicy | None = None, **labels: int) -> model_config.Model:
        return model_config.Model(name, str(self.volume / name), policy or model_config.Latest(1), labels)

    def put(self, version: int, kind: str = "half_plus_two", name: str = "half") -> Path:
        """Put a version on the volume in one step."""
        (self.volume / name).mkdir(exist_ok=True)
        staged = self.volume / name / f"uploading-{version}"
        savedmodels.place(kind, staged)
        return staged.rename(self.volume / name / str(version))

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """GET from the agent; a refused connection is status 0."""
        try:
            with OPENER.open(f"http://127.0.0.1:{port or self.agent_port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def state(self) -> dict[str, Any]:
        code, body = self.get("/v1/state")
        return dict(json.loads(body)) if code == 200 else {}

    def version(self, version: int, name: str = "half") -> dict[str, Any]:
        """Return what the agent says of one version, or {}."""
        models = [model for model in self.state().get("models", []) if model["name"] == name]
        return next((v for model in models for v in model["versions"] if v["version"] == version), {})

    def model_state(self, name: str) -> dict[str, Any]:
        """Return what the agent says of one model, or {}."""
        return next((model for model in self.state().get("models", []) if model["name"] == name), {})

    def available(self, name: str = "half") -> set[int]:
        models = [model for model in self.state().get("models", []) if model["name"] == name]
        return {v["version"] for model in models for v in model["versions"] if v["state"] == "AVAILABLE"}

    def wait_for(self, description: str, look: Callable[[], T], timeout: float = 20) -> T:
        """Wait until ``look`` gives something true; return it."""
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if time.monotonic() > deadline:
                server = self.server.log[-1000:] if self.server else ""
                pytest.fail(f"waited {timeout} s for {description}; state: {self.state()}\n{self.logs()[-3000:]}\n{server}")
            time.sleep(0.02)
        return found

    def wait_serving(self, *versions: int, name: str = "half", timeout: float = 20) -> None:
        """Wait until exactly these versions are AVAILABLE and nothing moves."""
        self.wait_for(f"{name} {versions}", lambda: self.available(name) == set(versions) and self.state()["settled"], timeout)

    def reloads(self) -> list[str]:
        """Return what each reload changed, in order."""
        lines = [json.loads(line) for line in self.logs().splitlines() if line.startswith("{")]
        return [line["change"] for line in lines if line["message"] == "Reloading the model server"]

    def logs(self) -> str:
        return (self.directory / "agent.log").read_text()


@contextlib.contextmanager
def pods() -> Iterator[Pod]:
    """A pod of which nothing runs yet; on leaving, all that runs of it is stopped."""
    directory = Path(tempfile.mkdtemp(prefix="agent-", dir="/tmp"))
    directory.chmod(0o755)
    made = Pod(directory)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory)


@pytest.fixture
def empty_pod() -> Iterator[Pod]:
    """A pod of which nothing runs yet."""
    with pods() as made:
        yield made


@pytest.fixture
def pod(empty_pod: Pod) -> Pod:
    """A pod that serves version 1 of `half`."""
    empty_pod.put(1)
    empty_pod.serve(empty_pod.model())
    empty_pod.start_server()
    empty_pod.start_agent()
    empty_pod.wait_serving(1, timeout=60)
    return empty_pod
