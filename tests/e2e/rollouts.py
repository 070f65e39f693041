"""What the tests of rollouts share: versions that can be told by their answers, clients, and what is seen from moment to moment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests import sample, savedmodels
from tests.agent.load import Load
from tests.cluster import EmbeddedCluster
from tests.e2e.conftest import OPENER, SYSTEM, Bench
from tests.e2e.watch import Watch
from tfmodel_serving import model_config

CPU = {"requests": {"cpu": "50m"}}
RECORDS = tuple(savedmodels.predict_record(x=x) for x in ([1.0], [2.0, 5.0], [0.0, 4.0, 8.0]))


class Served:
    """The TFModel `half` in a namespace; version N answers x / 2 + N.

    Args:
        spec: Of the TFModel, apart from its source and the resources of its server.
    """

    def __init__(self, bench: Bench, replicas: int = 1, **spec: Any) -> None:
        self.bench, self.cluster = bench, bench.cluster
        self.directory = bench.claim() / "half"
        self._server = {"resources": CPU, "replicas": replicas}
        self.spec: dict[str, Any] = {}
        self._newest = 0
        self.put(1)
        self.edit(**spec)
        bench.wait_ready()
        bench.answers([1.0])
        here = f"namespaces/{bench.namespace}"
        self.status = Watch(self.cluster, f"/apis/serving.tfmodel.dev/v1alpha1/{here}/tfmodels", "half", progress)
        self.configs = Watch(self.cluster, f"/api/v1/{here}/configmaps", "half-models", published)

    def close(self) -> None:
        """Take it all away."""
        self.status.close()
        self.configs.close()
        self.cluster.kubectl("delete", "namespace", self.bench.namespace, "--wait=false")

    # What people do

    def edit(self, server: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Apply the spec with ``changes`` of its fields; None takes one out."""
        self._server |= server or {}
        self.spec = {key: value for key, value in {**self.spec, **changes}.items() if value is not None}
        self.bench.tfmodel(server=self._server, **self.spec)

    def put(self, version: int, *, plus: float | None = None, records: tuple[Any, ...] = (), content: bytes | None = None) -> Path:
        """Put a version on the volume in one step.

        Args:
            plus: What it adds to x / 2, instead of its number.
            records: For its warmup file.
            content: Of its `saved_model.pb`, instead.
        """
        staged = self.directory / f"uploading-{version}"
        staged.mkdir(parents=True)
        (staged / "saved_model.pb").write_bytes(content or sample.saved_model(version if plus is None else plus))
        if records:
            savedmodels.write_warmup(staged, records)
        return staged.rename(self.directory / str(version))

    def put_into(self, directory: Path, version: int) -> None:
        """Complete a version that lay there in part."""
        staged = directory / "uploading"
        staged.write_bytes(sample.saved_model(version))
        staged.rename(directory / "saved_model.pb")

    def put_slow(self, version: int, seconds: float) -> Path:
        """Put a version on the volume that takes ``seconds`` to load; it adds 100."""
        staged = savedmodels.place("slow_plus_hundred", self.directory / f"uploading-{version}")
        savedmodels.write_warmup(staged, [savedmodels.predict_record(x=[1000.0 * seconds])])
        return staged.rename(self.directory / str(version))

    def next(self) -> int:
        """Return a version that was never on the volume."""
        self._newest = 1 + max(self._newest, *(int(path.name) for path in self.directory.iterdir() if path.name.isdecimal()))
        return self._newest

    def afresh(self, **spec: Any) -> None:
        """Have nothing of an earlier test in the spec and on the volume.

        Args:
            spec: As for :meth:`edit`; of versions, the latest one is asked for.
        """
        # What is on its way would become the promoted version while its files are taken away: first it is ended.
        self.edit(**spec, versionPolicy={"specific": {"versions": [self.promoted]}})
        self._rest()
        promoted = str(self.promoted)
        for path in self.directory.iterdir():
            if path.name != promoted:
                shutil.rmtree(path)
        self.edit(versionPolicy={"latest": {"numVersions": 1}})
        self._rest()

    def _rest(self) -> None:
        self.bench.cluster.wait_for("a Complete rollout", self._at_rest, done=lambda found: found["judged"] and found["phase"] == "Complete")

    def _at_rest(self) -> dict[str, Any]:
        found = self.bench.get("tfmodel", "half")
        return {"judged": bool(self.bench.condition()), **found["status"]["rollout"]}

    def annotate(self, annotation: str) -> None:
        self.bench.kubectl("annotate", "tfmodel/half", "--overwrite", annotation)

    def clients(self, per_second: float = 60.0, label: str = "") -> Load:
        """Return clients of both protocols, ``per_second`` each, that go through the Service."""
        return Load(self.bench.address(), self.bench.address(port=8500), per_second=per_second, label=label)

    @contextlib.contextmanager
    def steady(self, *answering: int, per_second: float = 60.0, label: str = "") -> Iterator[Load]:
        """Have clients while in use: none fails, only these versions answer, and pods and containers stay the same ones."""
        before = identity(self.pods())
        with self.clients(per_second, label) as clients:
            yield clients
        assert clients.failures == []
        assert set(clients.answered()) <= set(answering)
        assert identity(self.pods()) ^ before == set()

    def only(self, clients: Load, version: int, answers: int = 100) -> None:
        """Wait until so many answers have come of ``version``, with none of another one among them."""
        since = time.monotonic()
        self.cluster.wait_for("more answers", lambda: clients.answered(since), done=lambda found: found.total() >= answers)
        assert set(clients.answered(since)) == {version}

    # What is seen

    @property
    def promoted(self) -> int:
        return int(self.bench.get("tfmodel", "half")["status"]["promotedVersion"])

    def told(self, *phases: str, says: str = "", timeout: float = 60.0, **fields: Any) -> dict[str, Any]:
        """Wait for a status with one of ``phases`` and these fields, whose step says so; return it."""

        def is_told(found: dict[str, Any]) -> bool:
            status = found.get("status", {})
            rollout = status.get("rollout", {})
            is_it = all(status.get(key) == value for key, value in fields.items())
            return is_it and rollout.get("phase") in phases and says in rollout.get("step", "")

        what = f"{' or '.join(phases)} {says!r} {fields}"
        return dict(self.status.wait(what, is_told, timeout)["status"])

    def published(self, served: str, labels: str = "", trial: str = "", timeout: float = 60.0) -> None:
        """Wait until the ConfigMap has these versions, labels (``stable=1``) and versions on trial; all sorted, with commas."""
        wanted = (served, labels, trial)
        self.configs.wait(f"the config {wanted}", lambda found: published(found) == wanted, timeout)

    def loading(self, version: int) -> None:
        """Wait until the model server says that ``version`` is LOADING, which status may be too late for."""

        def states() -> dict[str, str]:
            with OPENER.open(f"http://{self.bench.address()}/v1/models/half", timeout=5) as response:
                return {one["version"]: one["state"] for one in json.load(response)["model_version_status"]}

        self.cluster.wait_for(f"version {version} LOADING", states, done=lambda found: found.get(str(version)) == "LOADING")

    def complete(self, version: int, timeout: float = 60.0) -> None:
        """Wait until ``version`` is promoted and nothing moves."""
        self.told("Complete", promotedVersion=version, timeout=timeout)
        self.bench.wait_ready()

    def failed(self, version: int, says: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until ``version`` is given up with these words, and the last good one serves."""
        status = self.told("RolledBack", says=f"version {version} failed", timeout=timeout)
        assert says in status["rollout"]["step"], status["rollout"]["step"]
        return status

    def verdict(self, version: int) -> str:
        """Return what the agents say of the files of ``version``."""
        versions = self.bench.get("tfmodel", "half")["status"]["versions"]
        return next((str(one["verdict"]) for one in versions if one["version"] == version), "")

    def ready_pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self.pods() if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))]

    def two_ready(self) -> None:
        """Wait until there are two pods, and both ready."""
        self.cluster.wait_for("two ready pods", lambda: len(self.pods()) == len(self.ready_pods()) == 2, timeout=90)

    def drained(self) -> None:
        """Wait until pods that have been replaced are gone: until then they answer those that are connected to them."""
        every = ("pods", "-l", "serving.tfmodel.dev/server=half")
        self.cluster.wait_for("old pods to go", lambda: len(self.bench.get(*every)["items"]) == len(self.ready_pods()), timeout=60)

    def pods(self) -> list[dict[str, Any]]:
        found = self.bench.get("pods", "-l", "serving.tfmodel.dev/server=half")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def identity(pods: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    """Return what changes when a pod is replaced or one of its containers restarts."""
    return {
        (pod["metadata"]["uid"], status["name"], status["restartCount"])
        for pod in pods
        for status in pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
    }


def progress(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a TFModel says of its rollout."""
    status = found.get("status", {})
    return {key: status[key] for key in ("promotedVersion", "candidateVersion", "rollout") if key in status}


def published(found: dict[str, Any]) -> tuple[str, str, str]:
    """Return versions, labels, and versions on trial in a ConfigMap, as :meth:`Served.published` has them."""
    models = {model.name: model for model in model_config.from_text(found["data"]["models.config"])}

    def versions(name: str) -> str:
        policy = models[name].version_policy if name in models else None
        return ",".join(map(str, sorted(policy.versions))) if isinstance(policy, model_config.Specific) else ""

    labels = models["half"].version_labels if "half" in models else {}
    return versions("half"), ",".join(f"{label}={version}" for label, version in sorted(labels.items())), versions("half--candidate")


def kill_operator(cluster: EmbeddedCluster) -> None:
    """Kill all replicas with SIGKILL, so that nothing of them is left but what they have written, and have others made.

    Their Lease goes with them: that it is waited for is tested elsewhere.
    """
    pods = cluster.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/name=tfmodel-operator")["items"]
    names = {pod["metadata"]["name"] for pod in pods}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = ((directory / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        host = next((word.partition(b"=")[2].decode() for word in environment if word.startswith(b"HOSTNAME=")), "")
        if host in names and b"tfmodel_operator" in words:
            os.kill(int(directory.name), signal.SIGKILL)
    cluster.kubectl("-n", SYSTEM, "delete", "pod", *names, "--grace-period=0", "--force")
    cluster.kubectl("-n", SYSTEM, "delete", "lease", "tfmodel-operator", "--ignore-not-found")


def broken_kernel() -> bytes:
    """Return a `saved_model.pb` that no look at the file finds fault with, and that no server can load."""
    return re.sub(rb"AddV2", b"NoAdd", sample.saved_model())
