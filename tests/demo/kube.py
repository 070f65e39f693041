"""The two clusters a demo runs on: one made here, and the one your kubeconfig points at."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.cluster import ClusterError, EmbeddedCluster, images
from tests.cluster.cache import run, say

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = "demo"
MODEL_SERVER = "docker.io/tensorflow/serving:2.19.1"


class DemoFailed(Exception):
    """The demo can't go on; the message says what to do."""


class Kube(Protocol):
    """What a demo needs of a cluster."""

    operator_image: str

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float | None = 120) -> str: ...

    def helm(self, *arguments: str, timeout: float | None = 600) -> str: ...

    def reach(self, service: str, port: int) -> contextlib.AbstractContextManager[str]:
        """Yield host:port under which a Service of the namespace `default` is reached from here."""
        ...


class Embedded:
    """A cluster made here, with images built here; it goes on until `make demo-down`."""

    def __init__(self, cluster: EmbeddedCluster, operator_image: str) -> None:
        self._cluster = cluster
        self.operator_image = operator_image
        self.kubectl, self.helm = cluster.kubectl, cluster.helm

    @classmethod
    def up(cls, name: str = NAME) -> Embedded:
        """Start the cluster unless it runs, and bring images and a volume for the sample to it."""
        operator, server = operator_image(), model_server_image()
        try:
            cluster = EmbeddedCluster.attach(name)
            say(f"The cluster {name} is running already")
        except ClusterError:
            cluster = EmbeddedCluster(nodes="kubelet", name=name).start()
        cluster.load_image(operator)
        cluster.load_image(server, MODEL_SERVER)
        cluster.apply(volume(cluster, "half-plus-two-files"))
        return cls(cluster, operator.reference)

    @contextlib.contextmanager
    def reach(self, service: str, port: int) -> Iterator[str]:
        """Services of the embedded cluster are routed: kube-proxy balances what comes from this machine."""
        address = self.kubectl("get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
        yield f"{address}:{port}"


class Current:
    """The cluster the kubeconfig points at, with the public model server image and the user's own kubectl and helm."""

    def __init__(self) -> None:
        for tool in ("kubectl", "helm"):
            if not shutil.which(tool):
                raise DemoFailed(f"{tool} is not on the PATH: install it, or use the cluster made here (make demo)")
        image = os.environ.get("IMAGE", "")
        if not image:
            raise DemoFailed(
                "IMAGE is not set: build the operator's image where your cluster can get it, for example\n"
                "  docker build -t tfmodel-operator:dev . && kind load docker-image tfmodel-operator:dev\n"
                "  make demo KUBE=current IMAGE=tfmodel-operator:dev"
            )
        self.operator_image = image

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float | None = 120) -> str:
        return run(["kubectl", *arguments], input=input, timeout=timeout)

    def helm(self, *arguments: str, timeout: float | None = 600) -> str:
        return run(["helm", *arguments], timeout=timeout)

    @contextlib.contextmanager
    def reach(self, service: str, port: int) -> Iterator[str]:
        """Forward a free local port while in use."""
        command = ["kubectl", "port-forward", f"service/{service}", f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
            assert forwarding.stdout is not None
            line = forwarding.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            try:
                if not found:
                    raise DemoFailed(f"kubectl port-forward service/{service}: {line or 'it ended'}")
                yield f"127.0.0.1:{found[1]}"
            finally:
                forwarding.terminate()


def operator_image() -> images.Image:
    """Return the image of operator and agent, built from the working tree."""
    return images.build_image("operator", ROOT / "Dockerfile", ROOT)


def model_server_image() -> images.Image:
    """Return the image of the stand-in for `tensorflow_model_server`."""
    return images.build_image("modelserver", ROOT / "tests/modelserver/Dockerfile", ROOT)


def volume(cluster: EmbeddedCluster, claim: str, namespace: str = "default") -> dict[str, object]:
    """Return a PersistentVolume for ``claim`` in a directory of this machine; there is no provisioner in the cluster.

    The directory belongs to the user that uploads, as a provisioner with fsGroup would have it.
    """
    directory = cluster.volumes / namespace / claim
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, 65532, 65532)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{claim}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": str(directory)},
        },
    }
