"""Configuration of the real node: containerd, the kubelet, kube-proxy and the pod network.

All paths under /run, /var/log and /var/lib are the cluster's own (see sandbox.py), and so are all ports.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries
from tests.cluster.controlplane import ControlPlane
from tests.cluster.network import Network

CGROUPS = Path("/sys/fs/cgroup")
CNI_PLUGINS = "/usr/lib/cni"  # Debian's place for containernetworking-plugins
SOCKET = "unix:///run/containerd/containerd.sock"

_CONTAINERD = """\
version = 2
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE (virtual machines, CI) runc can't lower a score: "can't get final child's PID".
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plugins}"
  conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


@dataclass(frozen=True)
class Node:
    """The one real node of a cluster."""

    name: str
    plane: ControlPlane
    network: Network
    pause: str  # reference of the pause image in containerd
    cgroup: str  # that all pods are under

    def containerd(self) -> list[str]:
        """containerd, with the pod network's configuration."""
        directory = self.plane.directory / "node"
        (directory / "cni").mkdir(parents=True, exist_ok=True)
        # ptp rather than bridge: every packet between pods passes the node's routing and so meets kube-proxy's rules
        # on its way back as well, also on machines without br_netfilter. A pod that calls itself works without hairpins.
        (directory / "cni" / "10-tfmodel.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "tfmodel", "plugins": [
                {"type": "ptp", "ipMasq": False, "mtu": 1500,
                 "ipam": {"type": "host-local", "ranges": [[{"subnet": self.network.pod_cidr}]],
                          "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]}, indent=2))
        config = directory / "containerd.toml"
        config.write_text(_CONTAINERD.format(pause=self.pause, plugins=CNI_PLUGINS, cni=directory / "cni"))
        return ["containerd", "--config", str(config), "--log-level", "info"]

    def kubelet(self) -> list[str]:
        """The kubelet: nothing is ever evicted, collected or refused for lack of disk; status is reported quickly."""
        directory = self.plane.directory / "node"
        # Without any server in it a name is refused at once; the machine's own would be asked for cluster names.
        (directory / "resolv.conf").write_text("options timeout:1 attempts:1\n")
        never = dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%")
        config = _written(directory / "kubelet.yaml", {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": str(self.plane.certificates.certificate("ca"))}},
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": SOCKET, "resolvConf": str(directory / "resolv.conf"),
            "cgroupDriver": "cgroupfs", "cgroupRoot": self.cgroup, "failCgroupV1": False, "failSwapOn": False,
            "evictionHard": never, "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "oomScoreAdj": 0, "nodeStatusUpdateFrequency": "2s", "nodeStatusReportFrequency": "30s",
            # syncFrequency stays at its default of one minute: a shorter one would hide an operator that forgets
            # to touch the pods whose ConfigMap it changed.
            "registerNode": True, "maxPods": 200, "logging": {"verbosity": 2}})
        return [str(binaries.kubernetes() / "kubelet"), f"--config={config}", f"--hostname-override={self.name}",
                f"--kubeconfig={self.plane.kubeconfig('kubelet')}", f"--node-ip={self.network.node_ip}"]

    def proxy(self) -> list[str]:
        """kube-proxy in iptables mode; the conntrack limits are the whole machine's and left alone."""
        config = _written(self.plane.directory / "node" / "kube-proxy.yaml", {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
            "clientConnection": {"kubeconfig": str(self.plane.kubeconfig("kube-proxy"))},
            "clusterCIDR": self.network.pod_cidr, "detectLocalMode": "ClusterCIDR", "hostnameOverride": self.name,
            "oomScoreAdj": 0, "iptables": {"minSyncPeriod": "0s"},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}})
        return [str(binaries.kubernetes() / "kube-proxy"), f"--config={config}"]


def make_cgroup(path: str) -> None:
    """Make a cgroup in every hierarchy, as the kubelet expects of its root."""
    for hierarchy in hierarchies():
        (hierarchy / path.lstrip("/")).mkdir(exist_ok=True)
    if (CGROUPS / "cgroup.controllers").exists():  # Version 2: what the parent doesn't hand down, the children lack.
        for controller in (CGROUPS / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):
                (CGROUPS / "cgroup.subtree_control").write_text(f"+{controller}")


def remove_cgroup(path: str) -> None:
    """Remove a cgroup with all below it from every hierarchy; its processes have ended before."""
    for hierarchy in hierarchies():
        root = hierarchy / path.lstrip("/")
        for directory in sorted([root, *root.rglob("*/")], reverse=True):
            for _ in range(50):  # A group stays busy for a moment after its last process is gone.
                try:
                    directory.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)
                else:
                    break


def hierarchies() -> list[Path]:
    """Return the mounted cgroup hierarchies: one in version 2, one per controller (and `unified`) in version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def _written(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
