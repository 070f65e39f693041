"""What a rollout costs the requests that run meanwhile, beside the same reload done by hand; the last line is one JSON object.

On a real node, two servers with the same image, flags and files: one is a TFModel's, and a version is dropped on its volume;
the other is bare, without an agent, and the same reloads are sent to it by hand, with the same load from the same place. They
take turns, so that what else the machine does falls on both.

`p99_ratio`: `rollout_p99_ms` / `by_hand_p99_ms`, over all rounds. `rest_p99_ms`: of the TFModel while nothing happens.
`failed`: requests that failed, of all.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from tests import sample
from tests.agent.load import CHANNEL_OPTIONS, Load
from tests.cluster import EmbeddedCluster
from tests.demo import kube
from tests.e2e.conftest import Bench, install
from tests.e2e.rollouts import Served
from tfmodel_serving import model_config
from tfmodel_serving.protos import serving_pb2 as pb

ROUNDS = 8
PER_SECOND = 75.0
"""Over each protocol."""
AFTER_SECONDS = 1.0
"""The window ends so long after the old version has gone."""
BASE_PATH = "/models/models/bare"
SERVICE = "/tensorflow.serving.ModelService"


class Bare:
    """A server without an agent, beside that of the TFModel `half`, with versions of its own in ``directory``."""

    def __init__(self, bench: Bench, directory: Path) -> None:
        template = bench.get("deployment", "half")["spec"]["template"]["spec"]
        bench.cluster.apply(*_manifests(bench.namespace, template))
        address = bench.cluster.wait_for("the bare server", lambda: bench.get("pod", "bare")["status"].get("podIP"))
        self.rest, self.grpc = bench.address("bare"), bench.address("bare", 8500)
        self._directory, self._version = directory, 1
        channel = grpc.insecure_channel(f"{address}:8500", options=CHANNEL_OPTIONS)
        self._reload = channel.unary_unary(
            f"{SERVICE}/HandleReloadConfigRequest",
            request_serializer=pb.ReloadConfigRequest.SerializeToString,
            response_deserializer=pb.ReloadConfigResponse.FromString,
        )
        self._status = channel.unary_unary(
            f"{SERVICE}/GetModelStatus",
            request_serializer=pb.GetModelStatusRequest.SerializeToString,
            response_deserializer=pb.GetModelStatusResponse.FromString,
        )
        self._put(1)
        self.shrink()

    def grow(self) -> None:
        """Load a new version beside the old one."""
        self._put(self._version + 1)
        self._serve({self._version, self._version + 1}, stable=self._version)
        self._version += 1

    def shrink(self) -> None:
        """Move the label to the newest version, and drop the others."""
        self._serve({self._version}, stable=self._version)

    def _put(self, version: int) -> None:
        staged = self._directory / f"uploading-{version}"
        staged.mkdir(parents=True)
        (staged / "saved_model.pb").write_bytes(sample.saved_model(version))
        staged.rename(self._directory / str(version))

    def _serve(self, versions: set[int], stable: int) -> None:
        model = model_config.Model("half", BASE_PATH, model_config.Specific(tuple(sorted(versions))), {"stable": stable})
        self._reload(pb.ReloadConfigRequest(config=model_config.to_message([model])), wait_for_ready=True, timeout=60)
        while self._live() != versions:
            time.sleep(0.05)

    def _live(self) -> set[int]:
        request = pb.GetModelStatusRequest(model_spec=pb.ModelSpec(name="half"))
        states = {pb.ModelVersionStatus.AVAILABLE, pb.ModelVersionStatus.UNLOADING}
        return {one.version for one in self._status(request, timeout=5).model_version_status if one.state in states}


def main() -> None:
    with EmbeddedCluster(nodes="kubelet") as cluster:
        cluster.load_image(kube.operator_image())
        cluster.load_image(kube.model_server_image(), kube.MODEL_SERVER)
        install(cluster)
        print(json.dumps(measure(Served(Bench(cluster, "latency"), rollout={"strategy": "InPlace"}))))


def measure(model: Served) -> dict[str, object]:
    """Return the figures."""
    bare = Bare(model.bench, model.directory.parent / "bare")
    took: dict[str, list[float]] = {"rollout": [], "by_hand": [], "rest": []}
    failures: list[str] = []
    for number in range(ROUNDS):
        turns = [("rollout", lambda: _roll_out(model)), ("by_hand", lambda: _reload(bare))]
        for side, take in [*(turns if number % 2 else reversed(turns)), ("rest", lambda: _rest(model))]:
            clients = take()
            took[side] += clients.seconds
            failures += clients.failures
        print(f"round {number + 1}: {_figures(took)}", file=sys.stderr)
    return {**_figures(took), "rounds": ROUNDS, "requests": sum(map(len, took.values())), "failed": len(failures)}


def _roll_out(model: Served) -> Load:
    version = model.next()
    with model.clients(PER_SECOND) as clients:
        model.put(version)
        model.complete(version)
        time.sleep(AFTER_SECONDS)
    return clients


def _reload(bare: Bare) -> Load:
    with Load(bare.rest, bare.grpc, per_second=PER_SECOND) as clients:
        bare.grow()
        bare.shrink()
        time.sleep(AFTER_SECONDS)
    return clients


def _rest(model: Served) -> Load:
    with model.clients(PER_SECOND) as clients:
        time.sleep(2 * AFTER_SECONDS)
    return clients


def _figures(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    p99 = {side: 1000 * sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1] for side, seconds in took.items() if seconds}
    figures = {f"{side}_p99_ms": value for side, value in p99.items()}
    return {key: round(value, 3) for key, value in {**figures, "p99_ratio": p99["rollout"] / p99["by_hand"]}.items()}


def _manifests(namespace: str, template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a pod with the model server of ``template`` alone, and its Service."""
    spec = {key: value for key, value in copy.deepcopy(dict(template)).items() if key != "initContainers"}
    (server,) = spec["containers"]
    for of_agent in ("readinessProbe", "livenessProbe", "lifecycle"):
        del server[of_agent]
    labels = {"bare": "half"}
    ports = [{"name": name, "port": port} for name, port in (("grpc", 8500), ("rest", 8501))]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "namespace": namespace, "labels": labels}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "bare", "namespace": namespace},
            "spec": {"selector": labels, "ports": ports},
        },
    ]


if __name__ == "__main__":
    main()
