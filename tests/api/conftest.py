"""One API server for the tier, and the operator as a process beside it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import EmbeddedCluster

ROOT = Path(__file__).resolve().parent.parent.parent
AGENT_IMAGE = "tfmodel-operator:test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.api)


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster() as made:
        install_crds(made)
        yield made


def install_crds(cluster: EmbeddedCluster, path: Path = ROOT / "crds") -> None:
    """Apply CRDs and wait until their objects can be made; `kubectl wait` fails on one that has no conditions yet."""
    cluster.kubectl("apply", "--server-side", "-f", str(path))
    cluster.wait_for("the CRDs", lambda: cluster.kubectl("wait", "--for=condition=Established", "crd", "--all"))


@pytest.fixture(scope="session")
def bare() -> Iterator[EmbeddedCluster]:
    """An API server that audits, and in which no operator runs but those that a test starts."""
    with EmbeddedCluster(audit=True) as made:
        install_crds(made)
        yield made


@pytest.fixture
def namespace(cluster: EmbeddedCluster, counter: Iterator[int] = itertools.count(1)) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(counter)}"
    cluster.kubectl("create", "namespace", name)
    return name


class Operator:
    """The operator as a process; its log is kept beside the cluster's.

    Args:
        variables: More environment variables.
    """

    def __init__(
        self, cluster: EmbeddedCluster, *arguments: str, kubeconfig: Path | None = None, name: str = "operator", **variables: str
    ) -> None:
        self.log = cluster.logs_dir / f"{name}.log"
        environment = os.environ | cluster.environment() | {"PYTHONPATH": str(ROOT / "operator")} | variables
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        command = [sys.executable, "-m", "tfmodel_operator", "--agent-image", AGENT_IMAGE, "--host", "127.0.0.1", "--port", "0"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, env=environment)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines it has logged; what is no JSON (a traceback) as ``message``."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"message": line})
        return found

    def says(self, message: str) -> dict[str, Any] | None:
        """Return the last line that it has logged with this message."""
        return next((line for line in reversed(self.lines()) if line["message"] == message), None)

    def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP server; return status and text. There is none until it has said that it has started."""
        started = self.says("Operator started")
        if started is None:
            raise OSError("it has not started yet")
        host, port = started["addresses"][0]
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def operator(cluster: EmbeddedCluster) -> Iterator[Operator]:
    running = Operator(cluster)
    yield running
    assert running.process.poll() is None, f"the operator ended by itself: {running.log.read_text()[-2000:]}"
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def tfmodel(namespace: str):
    """Return a maker of manifests in the test's namespace."""

    def make(name: str = "half", **spec: object) -> dict[str, object]:
        source = {"persistentVolumeClaim": {"claimName": "models", "path": "half"}}
        metadata = {"name": name, "namespace": namespace}
        return {
            "apiVersion": "serving.tfmodel.dev/v1alpha1",
            "kind": "TFModel",
            "metadata": metadata,
            "spec": {"source": source, **spec},
        }

    return make
