"""Command lines of etcd, the API server, the controller manager, the scheduler and kwok."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster import binaries
from tests.cluster.certificates import Certificates

FAKE_POD_CIDR = "10.244.0.0/16"
"""Addresses of pods on nodes that aren't there: nothing is behind them, unless somebody plays it."""
PODS_PER_FAKE_NODE = 250


@dataclass(frozen=True)
class ControlPlane:
    """Where the control plane of one cluster listens, and where its files are."""

    directory: Path
    address: str  # the API server's
    port: int
    etcd_ports: tuple[int, int]  # for clients and for peers, both on loopback
    pod_cidr: str
    service_cidr: str
    node_mask: int  # prefix length of the pod range each node gets
    audit_policy: Path | None

    @property
    def url(self) -> str:
        """The API server's."""
        return f"https://{self.address}:{self.port}"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes one JSON object per audited request."""
        return self.directory / "logs" / "audit.jsonl"

    @property
    def certificates(self) -> Certificates:
        """The keys and certificates."""
        return Certificates(self.directory / "certificates")

    def kubeconfig(self, client: str) -> Path:
        """Return the kubeconfig of a component, written on first use."""
        path = self.directory / "kubeconfigs" / client
        return path if path.exists() else self.certificates.kubeconfig(client, self.url, path)

    def etcd(self) -> list[str]:
        """etcd, keeping nothing that must survive a power cut."""
        client, peer = (f"http://127.0.0.1:{port}" for port in self.etcd_ports)
        return [binaries.etcd(), "--name=etcd", f"--data-dir={self.directory / 'etcd'}", "--unsafe-no-fsync",
                f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=etcd={peer}",
                "--quota-backend-bytes=8589934592", "--logger=zap", "--log-outputs=stderr"]

    def api_server(self) -> list[str]:
        """The API server, with the admission plugins that are on by default (Pod Security among them)."""
        certificates = self.certificates
        audit = [] if self.audit_policy is None else [
            f"--audit-policy-file={self.audit_policy}", f"--audit-log-path={self.audit_log}", "--audit-log-maxsize=100000"]
        # The loopback address may not be an endpoint of the Service `kubernetes`; without nodes nobody needs one.
        endpoints = ["--endpoint-reconciler-type=none"] if self.address.startswith("127.") else []
        return [str(binaries.kubernetes_command("kube-apiserver")), f"--etcd-servers=http://127.0.0.1:{self.etcd_ports[0]}",
                f"--bind-address={self.address}", f"--advertise-address={self.address}", f"--secure-port={self.port}",
                f"--service-cluster-ip-range={self.service_cidr}", "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
                # Debian's etcd 3.4 can't serve streamed lists; refused outright, clients list at once instead of trying
                # again with growing delays (kwok saw its first pods after up to 20 s).
                "--feature-gates=WatchList=false",
                f"--client-ca-file={certificates.certificate('ca')}",
                f"--tls-cert-file={certificates.certificate('serving')}",
                f"--tls-private-key-file={certificates.key('serving')}",
                f"--kubelet-client-certificate={certificates.certificate('kube-apiserver')}",
                f"--kubelet-client-key={certificates.key('kube-apiserver')}",
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={certificates.certificate('service-accounts')}",
                f"--service-account-signing-key-file={certificates.key('service-accounts')}", *endpoints, *audit]

    def controller_manager(self) -> list[str]:
        """The controller manager; alone, so it elects no leader, and watched by us, so it serves nothing."""
        certificates, kubeconfig = self.certificates, self.kubeconfig("kube-controller-manager")
        return [str(binaries.kubernetes() / "kube-controller-manager"), f"--kubeconfig={kubeconfig}",
                "--leader-elect=false", "--secure-port=0", "--use-service-account-credentials=true",
                f"--service-account-private-key-file={certificates.key('service-accounts')}",
                f"--root-ca-file={certificates.certificate('ca')}",
                f"--cluster-signing-cert-file={certificates.certificate('ca')}",
                f"--cluster-signing-key-file={certificates.key('ca')}",
                "--allocate-node-cidrs=true", f"--cluster-cidr={self.pod_cidr}", f"--node-cidr-mask-size={self.node_mask}",
                # The defaults (20/s) are for sharing an API server with thousands of nodes; they slow the scale tests.
                "--kube-api-qps=300", "--kube-api-burst=600"]

    def scheduler(self) -> list[str]:
        """The scheduler."""
        path = self.directory / "scheduler.yaml"
        path.write_text(yaml.safe_dump({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "clientConnection": {"kubeconfig": str(self.kubeconfig("kube-scheduler")), "qps": 300, "burst": 600}}))
        return [str(binaries.kubernetes() / "kube-scheduler"), f"--config={path}", "--secure-port=0"]

    def kwok(self) -> list[str]:
        """kwok, playing all nodes by the fast stages it has built in: pods are Running and Ready at once."""
        return [str(binaries.kwok()), f"--kubeconfig={self.kubeconfig('kwok')}", "--manage-all-nodes=true",
                f"--cidr={self.pod_cidr}", "--node-lease-duration-seconds=40"]


def serving_names(address: str, service_cidr: str) -> Sequence[str]:
    """Return what the API server's certificate must name, for clients outside and in pods."""
    network, rest = service_cidr.rsplit(".", 1)[0], int(service_cidr.rsplit(".", 1)[1].split("/")[0])
    services = [f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    return [f"IP:{address}", "IP:127.0.0.1", f"IP:{network}.{rest + 1}", "DNS:localhost", *services]


def free_ports(count: int) -> list[int]:
    """Return loopback ports nobody listens on now; all are held until the last is chosen, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def fake_node(number: int) -> dict[str, object]:
    """Return a Node for kwok to play: 64 CPUs, 256 GiB."""
    name = f"kwok-{number}"
    capacity = {"cpu": "64", "memory": "256Gi", "pods": str(PODS_PER_FAKE_NODE), "ephemeral-storage": "1Ti"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "type": "kwok"}
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"capacity": capacity, "allocatable": capacity}}
