"""Where the operator is measured: a cluster of fake nodes with the operator's chart rights in it, and agents for its pods."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench.operator import agents, audit, models, processes
from tests.bench.operator.audit import AuditLog
from tests.cluster import EmbeddedCluster
from tests.cluster.controlplane import PODS_PER_FAKE_NODE

SYSTEM = processes.SYSTEM
RELEASE = "tfmodel-operator"
USER = f"system:serviceaccount:{SYSTEM}:{RELEASE}"


@dataclass
class Stage:
    """A running set-up; the operator is not started.

    Args:
        arguments: The flags the chart gives the operator.
        kubeconfig: The operator's: of a service account with the rights the chart gives it.
        agents: The process that is every agent; None where there are no nodes.
    """

    cluster: EmbeddedCluster
    kubeconfig: Path
    arguments: list[str]
    audit: AuditLog
    agents: subprocess.Popen[bytes] | None

    def operator(self, *, profile: Path | None = None) -> processes.OperatorProcess:
        """Return an operator for this cluster, to be started."""
        return processes.OperatorProcess(self.kubeconfig, self.arguments, self.cluster.logs_dir / "operator.log", profile=profile)

    def asked(self, since: float) -> dict[str, Any]:
        """Return whom the operator has asked since a moment of time.monotonic(), see ``agents.stats``."""
        found = json.loads(processes.fetch(f"http://127.0.0.1:{agents.STATS_PORT}/stats?since={since}"))
        assert isinstance(found, dict)
        return found

    def drop(self, version: int, *models: str) -> None:
        """Have a version come on the volume of these models, or of all."""
        named = "".join(f"&model={model}" for model in models)
        processes.fetch(f"http://127.0.0.1:{agents.STATS_PORT}/drop?version={version}{named}")

    def cluster_pids(self) -> list[int]:
        """Return the processes of the control plane and of kwok."""
        return [process.pid for process in self.cluster.state.processes()]


@contextlib.contextmanager
def stage(count: int, *, nodes: bool = True, loading_seconds: float = 0.0, poll_seconds: float = 0.0) -> Iterator[Stage]:
    """Make a set-up for ``count`` TFModels; it ends with the block, and with this process.

    Args:
        nodes: Run a controller manager, a scheduler and fake nodes, so that pods come to be.
        loading_seconds: How long a version is LOADING in a pod before it is AVAILABLE.
        poll_seconds: Between two looks of a model server at what it should have.
    """
    # Twice the pods fit, as a rolling update needs them, with room for those that are on their way out.
    node_count = max(2, math.ceil(2.5 * count / PODS_PER_FAKE_NODE))
    made = EmbeddedCluster("kwok" if nodes else None, controllers=nodes, node_count=node_count, audit=audit.policy(USER))
    with made as cluster:
        kubeconfig, arguments = _install(cluster)
        if not nodes:
            yield Stage(cluster, kubeconfig, arguments, AuditLog(cluster.audit_log), None)
            return
        cluster.wait_for("every node to have its range of pod addresses", lambda: _without_range(cluster), done=lambda left: not left)
        cluster.apply(*_volume())
        cluster.wait_for("the claim to be bound", lambda: cluster.get("-n", models.NAMESPACE, "pvc", models.CLAIM)["status"]["phase"] == "Bound")
        answering = _start_agents(cluster, loading_seconds, poll_seconds)
        try:
            made_stage = Stage(cluster, kubeconfig, arguments, AuditLog(cluster.audit_log), answering)
            cluster.wait_for("the agents to answer", lambda: made_stage.asked(0) is not None)
            yield made_stage
        finally:
            answering.kill()
            answering.wait()


def _install(cluster: EmbeddedCluster) -> tuple[Path, list[str]]:
    """Install CRDs and rights as the chart does; return the kubeconfig of the operator's service account, and its flags."""
    cluster.kubectl("apply", "--server-side", "-f", str(processes.ROOT / "crds"))
    cluster.wait_for("the CRDs", lambda: cluster.kubectl("wait", "--for=condition=Established", "crd", "--all"))
    for name in (SYSTEM, models.NAMESPACE):
        cluster.kubectl("create", "namespace", name)
    template = ("template", RELEASE, str(processes.ROOT / "charts/tfmodel-operator"), "--namespace", SYSTEM, "-s")
    cluster.kubectl("apply", "--server-side", "-f", "-", input=cluster.helm(*template, "templates/rbac.yaml"))
    rendered = yaml.safe_load_all(cluster.helm(*template, "templates/deployment.yaml"))
    deployment = next(document for document in rendered if document and document["kind"] == "Deployment")
    module, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert module == "tfmodel_operator"
    return cluster.service_account_kubeconfig(SYSTEM, RELEASE), arguments


def _volume() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a claim and its volume: kwok mounts nothing, but the scheduler wants both."""
    shared = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": models.CLAIM},
              "spec": {**shared, "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"},
                       "claimRef": {"namespace": models.NAMESPACE, "name": models.CLAIM}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": models.CLAIM, "namespace": models.NAMESPACE},
             "spec": {**shared, "volumeName": models.CLAIM, "resources": {"requests": {"storage": "1Gi"}}}}
    return volume, claim


def _without_range(cluster: EmbeddedCluster) -> list[str]:
    # kwok would take addresses of such a node's pods from the whole range, and give some of them out twice.
    return [node["metadata"]["name"] for node in cluster.get("nodes")["items"] if not node["spec"].get("podCIDR")]


def _start_agents(cluster: EmbeddedCluster, loading_seconds: float, poll_seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.bench.operator.agents", "--server", cluster.url,
               "--certificates", str(cluster.state.plane.certificates.directory), "--loading-seconds", str(loading_seconds), "--poll-seconds", str(poll_seconds)]
    return processes.child(command, cluster.logs_dir / "agents.log")
