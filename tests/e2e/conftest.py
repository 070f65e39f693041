"""One real node for the tier, with the operator installed by Helm as a user would."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import sample
from tests.cluster import EmbeddedCluster
from tests.demo import kube

pytest.register_assert_rewrite("tests.e2e.rollouts")

CHART = kube.ROOT / "charts/tfmodel-operator"
SYSTEM = "tfmodel-system"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.node)


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedCluster]:
    operator, server = kube.operator_image(), kube.model_server_image()
    with EmbeddedCluster(nodes="kubelet") as made:
        made.load_image(operator)
        made.load_image(server, kube.MODEL_SERVER)
        install(made)
        yield made


def install(cluster: EmbeddedCluster, *values: str) -> None:
    """Install the operator, or upgrade it, with these values and no others, and wait until it is up."""
    repository, _, tag = kube.operator_image().reference.rpartition(":")
    image = f"image.repository={repository},image.tag={tag}"
    cluster.helm(
        "upgrade", "--install", "tfmodel-operator", str(CHART), "--namespace", SYSTEM, "--create-namespace", "--wait",
        "--timeout", "3m", *(argument for value in (image, *values) for argument in ("--set", value)),
    )  # fmt: skip


class Bench:
    """A namespace of a test's own, with a claim whose directory the test writes to."""

    def __init__(self, cluster: EmbeddedCluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        cluster.kubectl("create", "namespace", namespace)

    def claim(self, name: str = "models") -> Path:
        """Make a claim, bound to a directory of this machine; return the directory."""
        self.cluster.apply(
            kube.volume(self.cluster, name, self.namespace),
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            },
        )
        return self.cluster.volumes / self.namespace / name

    def tfmodel(self, name: str = "half", claim: str = "models", **spec: Any) -> None:
        """Apply a TFModel whose base path is the claim's directory `half`."""
        source = {"persistentVolumeClaim": {"claimName": claim, "path": "half"}}
        self.cluster.apply(
            {
                "apiVersion": "serving.tfmodel.dev/v1alpha1",
                "kind": "TFModel",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"source": source, **spec},
            }
        )

    def get(self, *arguments: str) -> Any:
        return self.cluster.get("-n", self.namespace, *arguments)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def condition(self, kind: str = "Ready", name: str = "half") -> dict[str, Any]:
        """Return a condition of the current generation, or {}."""
        found = self.get("tfmodel", name)
        if found["status"]["observedGeneration"] != found["metadata"]["generation"]:
            return {}
        return next((c for c in found["status"]["conditions"] if c["type"] == kind), {})

    def wait_ready(self, name: str = "half", timeout: float = 120) -> dict[str, Any]:
        """Wait for Ready=True; return the TFModel."""
        self.cluster.wait_for(
            f"{name} to be Ready", lambda: self.condition(name=name), timeout, done=lambda found: found.get("status") == "True"
        )
        return dict(self.get("tfmodel", name))

    def wait_reason(self, reason: str, name: str = "half", timeout: float = 60, says: str = "") -> str:
        """Wait until Ready gives this reason, in a message with these words; return the message."""
        found = self.cluster.wait_for(
            f"{name} to say {reason} {says}".rstrip(), lambda: self.condition(name=name), timeout,
            done=lambda found: found.get("reason") == reason and says in found["message"],
        )  # fmt: skip
        return str(found["message"])

    def address(self, service: str = "half", port: int = 8501) -> str:
        return f"{self.get('service', service)['spec']['clusterIP']}:{port}"

    def predict(self, instances: list[float], model: str = "half", address: str = "", timeout: float = 10) -> Any:
        """Ask over REST through the Service; raises OSError if there is no answer within ``timeout`` seconds."""
        request = urllib.request.Request(
            f"http://{address or self.address()}/v1/models/{model}:predict", data=json.dumps({"instances": instances}).encode()
        )
        with OPENER.open(request, timeout=timeout) as response:
            return json.load(response)["predictions"]

    def answers(self, instances: list[float]) -> Any:
        """Return the first answer: a pod that has just become ready takes a second to reach kube-proxy's rules.

        A connection that was begun before the rules were there is never answered, so each attempt is a short one.
        """
        return self.cluster.wait_for("an answer through the Service", lambda: self.predict(instances, timeout=2), timeout=30)


@pytest.fixture
def bench(cluster: EmbeddedCluster, counter: Iterator[int] = itertools.count(1)) -> Iterator[Bench]:
    made = Bench(cluster, f"e2e-{next(counter)}")
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="session")
def half_plus_two() -> bytes:
    """The SavedModel of the sample."""
    return sample.saved_model()


def put(directory: Path, version: int, saved_model: bytes) -> None:
    """Put a version on a claim, under another name first, as uploads should be."""
    staged = directory / "half" / f"uploading-{version}"
    staged.mkdir(parents=True)
    (staged / "saved_model.pb").write_bytes(saved_model)
    staged.rename(directory / "half" / str(version))
