"""A pod that leaves under load: not one request fails, over REST or gRPC."""

from __future__ import annotations

import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import DRAIN_TOKEN, OPENER, Pod
from tests.agent.load import Load
from tests.agent.service import Service, address_of_this_host
from tfmodel_agent.drain import client_connections

PER_SECOND = 200.0


@pytest.fixture
def second_pod() -> Iterator[Pod]:
    directory = Path(tempfile.mkdtemp(prefix="agent-", dir="/tmp"))
    directory.chmod(0o755)
    made = Pod(directory)
    made.put(1)
    made.serve(made.model())
    made.start_server()
    made.start_agent()
    made.wait_serving(1, timeout=60)
    yield made
    made.stop()
    shutil.rmtree(directory)


def drain(pod: Pod) -> str:
    """Ask as the kubelet does: the server's preStop hook."""
    request = urllib.request.Request(f"http://127.0.0.1:{pod.agent_port}/drain", headers={"X-Drain-Token": DRAIN_TOKEN})
    with OPENER.open(request, timeout=60) as response:
        return str(response.read().decode())


def test_a_drain_under_load_fails_no_request(pod: Pod, second_pod: Pod) -> None:
    backends = [((each.rest_port, each.grpc_port), lambda each=each: each.get("/readyz")[0] == 200) for each in (pod, second_pod)]
    with (
        Service(address_of_this_host(), backends) as service,
        Load(f"127.0.0.1:{service.ports[0]}", f"127.0.0.1:{service.ports[1]}", per_second=PER_SECOND) as clients,
    ):
        pod.wait_for("answers", lambda: clients.answers > PER_SECOND)
        leaving = pod if client_connections([pod.grpc_port]) else second_pod  # gRPC clients keep their connection
        begin = time.monotonic()
        said = drain(leaving)
        took = time.monotonic() - begin
        assert leaving.get("/readyz") == (503, "draining\n")
        leaving.kill_server()  # what the container's SIGTERM does once the hook has ended
        leaving.kill_agent()
        seen = clients.answers
        pod.wait_for("answers of the other pod", lambda: clients.answers > seen + 2 * PER_SECOND)
    assert clients.failures == []
    assert said == "drained; 0 connections left\n"
    print(f"drained after {took:.1f} s, {clients.answers} answers")


def test_a_drain_ends_with_its_time_whoever_is_still_connected(pod: Pod) -> None:
    """A client that keeps its connection for ever doesn't keep the pod."""
    with Load(f"127.0.0.1:{pod.rest_port}", f"{address_of_this_host()}:{pod.grpc_port}"):
        pod.kill_agent()
        pod.start_agent(drain_seconds=3)
        pod.wait_serving(1)
        begin = time.monotonic()
        assert drain(pod) == "drained; 1 connections left\n"
        assert time.monotonic() - begin < 15
