"""The embedded cluster: real Kubernetes components on this machine, in a few seconds.

    with EmbeddedCluster() as cluster:                  # etcd, API server, controllers: no node (profile "api")
    with EmbeddedCluster(nodes="kwok") as cluster:      # and fake nodes, whose pods are Running at once
    with EmbeddedCluster(nodes="kubelet") as cluster:   # and a real node: containerd, kubelet, kube-proxy

A cluster of a ``with`` block ends with its Python process. One made by ``start()`` goes on; any process finds it again
by its name (``EmbeddedCluster.attach``) and may stop it. Its state directory has all there is to know about it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.cluster import binaries, images, leftovers, prerequisites, runtime
from tests.cluster.access import Access
from tests.cluster.cache import cache_dir, locked, say
from tests.cluster.controlplane import FAKE_POD_CIDR, ControlPlane, fake_node, free_ports, serving_names
from tests.cluster.errors import ClusterError, ComponentFailed, WaitTimeout
from tests.cluster.network import Network, free_slot
from tests.cluster.node import Node, make_cgroup, remove_cgroup
from tests.cluster.process import Process
from tests.cluster.sandbox import start_sandbox
from tests.cluster.state import Components, State

Nodes = Literal["kubelet", "kwok"]
LOOPBACK = "127.0.0.1"
NODE = "node"
_numbers = itertools.count(1)

# Counts requests, without their bodies.
AUDIT_METADATA: Mapping[str, Any] = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                                     "rules": [{"level": "Metadata"}]}


class EmbeddedCluster(Access):
    """One cluster. Attributes that need a running one raise ClusterError before ``start``."""

    def __init__(self, nodes: Nodes | None = None, *, name: str | None = None, controllers: bool = True,
                 node_count: int = 1, audit: Mapping[str, Any] | bool = False, start_timeout: float = 90) -> None:
        """Describe a cluster; ``start`` or ``with`` makes it.

        Args:
            nodes: What plays the nodes: the real kubelet, kwok, or nothing.
            name: By which others find it; made up by default.
            controllers: Run the controller manager and the scheduler; always so with nodes.
            node_count: Of kwok's nodes, at most 256.
            audit: An audit policy, or True for one line per request; ``audit_log`` is where they go.
            start_timeout: Seconds a component may take until it is ready.
        """
        self.nodes, self.controllers, self.node_count = nodes, controllers or nodes is not None, node_count
        self.name = name or f"{nodes or 'api'}-{os.getpid()}-{next(_numbers)}"
        self.directory = cache_dir() / "clusters" / self.name
        self._audit = dict(AUDIT_METADATA) if audit is True else dict(audit or {})
        self._timeout = start_timeout
        self._throwaway = name is None
        self._state: State | None = None
        self._components: Components | None = None

    @classmethod
    def attach(cls, name: str) -> EmbeddedCluster:
        """Return the running cluster of this name, whoever started it.

        Raises:
            ClusterError: There is none.
        """
        state = State.load(cache_dir() / "clusters" / name)
        if state is None or not state.ready or not state.running():
            raise ClusterError(f"no cluster named {name!r} is running; `python -m tests.cluster up --name {name}` starts one")
        cluster = cls("kubelet" if state.nodes == "kubelet" else "kwok" if state.nodes == "kwok" else None, name=name)
        cluster._state, cluster._components = state, Components(state, state.sandbox())
        return cluster

    # Where things are

    @property
    def state(self) -> State:
        """What is written down about the running cluster."""
        if self._state is None:
            raise ClusterError(f"the cluster {self.name} is not running")
        return self._state

    @property
    def components(self) -> Components:
        """The components, to kill and restart some."""
        if self._components is None:
            raise ClusterError(f"the cluster {self.name} is not running")
        return self._components

    @property
    def url(self) -> str:
        """The API server's."""
        return self.state.plane.url

    @property
    def logs_dir(self) -> Path:
        """One file per component; kept when the cluster has stopped after a failure."""
        return self.directory / "logs"

    @property
    def audit_log(self) -> Path:
        """One JSON object per request, with ``audit`` given."""
        return self.state.plane.audit_log

    @property
    def volumes(self) -> Path:
        """A directory for hostPath volumes; pods may write in it whoever they run as."""
        path = self.directory / "volumes"
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        return path

    @property
    def pod_cidr(self) -> str:
        """The range of pod addresses; with a real node this machine reaches them."""
        return self.state.plane.pod_cidr

    @property
    def service_cidr(self) -> str:
        """The range of ClusterIPs; with a real node this machine reaches them."""
        return self.state.plane.service_cidr

    @property
    def host_ip(self) -> str:
        """The address at which pods reach servers on this machine (that listen on all addresses)."""
        return self.state.network.host_ip if self.state.network else LOOPBACK

    @property
    def node_name(self) -> str:
        """The name of the first node."""
        return NODE if self.nodes == "kubelet" else "kwok-0"

    # Lifecycle

    def __enter__(self) -> Self:
        return self.start(bound=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and self._state is not None:
            self.collect()
        self.stop(keep_logs=kind is not None)
        if kind is not None:
            say(f"The logs of the cluster are kept in {self.logs_dir}")
        elif self._throwaway:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *, bound: bool = False) -> Self:
        """Start the cluster and wait until it is ready to be used; what it needs is built first.

        Args:
            bound: End the cluster with this Python process, whatever ends that.

        Raises:
            MissingPrerequisite: This machine lacks something.
            ComponentFailed: A component died or was not ready in time; all others have been stopped then.
            ClusterError: A cluster of this name is running.
        """
        prerequisites.require(self.nodes or "api")
        self._build()
        sweep()
        with self._lock():
            if (state := State.load(self.directory)) and state.ready and state.running():
                raise ClusterError(f"a cluster named {self.name!r} is running already, see {self.directory}")
            _clean(self.directory)
            try:
                self._start(bound)
            except BaseException:
                with contextlib.suppress(ClusterError):
                    _clean(self.directory, keep_logs=True)
                self._state = self._components = None
                raise
        return self

    def stop(self, *, keep_logs: bool = True) -> None:
        """End the cluster with everything it has on this machine; safe to repeat, also after a failed start.

        Raises:
            ClusterError: Something is left; the message lists it.
        """
        with self._lock():
            if self._components:
                self._components.sandbox.release()
            _clean(self.directory, keep_logs)
            self._state = self._components = None

    def restart(self, component: str) -> None:
        """Start a component again (after ``components.kill``, or with a kill of its own) and wait until it is ready."""
        self.components.restart(component)
        if component == "kube-apiserver":
            self._wait(component, self._api_ready)

    def check(self) -> None:
        """Raise ComponentFailed when a component has died."""
        if self._components:
            self._components.check()

    def load_image(self, image: images.Image, as_name: str | None = None) -> None:
        """Make an image known to the real node, also by the reference ``as_name`` (``docker.io/tensorflow/serving:2.19.1``).

        Pods must use ``imagePullPolicy: IfNotPresent`` or ``Never``: there is no registry to ask.
        """
        runtime.Runtime(self.components.sandbox).load(image, as_name)

    def set_extended_resource(self, resource: str, count: int, node: str | None = None) -> None:
        """Make a node (the first by default) advertise ``count`` devices it hasn't got."""
        super().set_extended_resource(resource, count, node or self.node_name)

    def leftovers(self) -> list[str]:
        """Return what of this cluster is on the machine now; empty after ``stop``."""
        state = self._state or State.load(self.directory)
        return _leftovers(state) if state else []

    # Steps

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with locked(self.directory.parent / f".{self.name}.lock"):
            yield

    def _build(self) -> None:
        """Build what this kind of cluster needs, before any timeout runs."""
        binaries.kubernetes_command("kubectl")
        if self.controllers:
            binaries.kubernetes()
        if self.nodes == "kwok":
            binaries.kwok()
        if self.nodes == "kubelet":
            images.pause_image()

    def _start(self, bound: bool) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with free_slot(str(self.directory)) if self.nodes == "kubelet" else contextlib.nullcontext((None, -1)) as (network, lock):
            plane = self._plane(network)
            root = cache_dir() / "containerd" / f"slot-{network.slot}" if network else None
            used = root is not None and runtime.mark(root)
            me = Process.of(os.getpid())
            assert me
            self._state = State(self.nodes, me, bound, network.slot if network else None, plane)
            self._state.save()
            sandbox = start_sandbox(self.directory, containerd_root=root, bound=bound, keep_open=[lock] if network else [])
        self._components = Components(self._state, sandbox)
        node = None
        if network:
            make_cgroup(self._state.cgroup)
            network.connect(sandbox)
            node = Node(NODE, plane, network, images.pause_image().reference, self._state.cgroup)
            self._start_containerd(node, used)
        self._start_control_plane(plane, node)
        if node:
            self.components.start("kube-proxy", node.proxy())
            self.components.start("kubelet", node.kubelet())
            self._wait("containerd", runtime.Runtime(sandbox).answers)
            self.load_image(images.pause_image())
        if self.nodes == "kwok":
            self.components.start("kwok", plane.kwok())
            items = [fake_node(number) for number in range(self.node_count)]
            self.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        if self.controllers:
            self._wait("kube-controller-manager", lambda: self.get("serviceaccount", "default"))
        if self.nodes:
            self._wait("kubelet" if node else "kwok", self._nodes_ready)
        self._state.ready = True
        self._state.save()

    def _plane(self, network: Network | None) -> ControlPlane:
        policy = None
        if self._audit:
            policy = self.directory / "audit-policy.json"
            policy.write_text(json.dumps(self._audit))
        if network:  # All ports are free in a network namespace of one's own.
            return ControlPlane(self.directory, network.node_ip, 6443, (2379, 2380), network.pod_cidr, network.service_cidr,
                                16, policy)
        port, client, peer = free_ports(3)
        return ControlPlane(self.directory, LOOPBACK, port, (client, peer), FAKE_POD_CIDR, "10.96.0.0/16", 24, policy)

    def _start_containerd(self, node: Node, used: bool) -> None:
        engine = runtime.Runtime(self.components.sandbox)
        if used:
            config = self.directory / "containerd-without-cri.toml"
            config.write_text(runtime.WITHOUT_CRI)
            self.components.start("containerd", ["containerd", "--config", str(config)])
            self._wait("containerd", engine.answers)
            engine.remove_containers()
            self.components.forget("containerd")
        self.components.start("containerd", node.containerd())

    def _start_control_plane(self, plane: ControlPlane, node: Node | None) -> None:
        self.components.start("etcd", plane.etcd())
        plane.certificates.create(serving_names(plane.address, plane.service_cidr), node.name if node else None)
        plane.certificates.kubeconfig("admin", plane.url, self.kubeconfig)
        self.components.start("kube-apiserver", plane.api_server())
        self._wait("kube-apiserver", self._api_ready)
        if self.controllers:
            self.components.start("kube-controller-manager", plane.controller_manager())
            self.components.start("kube-scheduler", plane.scheduler())

    def _wait(self, component: str, ready: Callable[[], object]) -> None:
        try:
            self.wait_for(component, ready, self._timeout)
        except WaitTimeout as error:
            raise ComponentFailed(component, f"was not ready in time ({error})", self.components.log(component)) from error

    def _api_ready(self) -> bool:
        certificates = self.state.plane.certificates
        context = ssl.create_default_context(cafile=str(certificates.certificate("ca")))
        context.load_cert_chain(certificates.certificate("admin"), certificates.key("admin"))
        # No proxies: an environment that sets one means the way out, not this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with opener.open(f"{self.url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)

    def _nodes_ready(self) -> bool:
        nodes = self.get("nodes")["items"]
        ready = [node for node in nodes for condition in node["status"].get("conditions", [])
                 if condition["type"] == "Ready" and condition["status"] == "True"]
        return len(ready) == self.node_count


def sweep() -> None:
    """Clean up after clusters that should have ended with their Python process, and (killed too) could not do so."""
    for directory in sorted(p for p in (cache_dir() / "clusters").glob("*") if p.is_dir()):
        with locked(directory.parent / f".{directory.name}.lock"):
            state = State.load(directory)
            if state and (state.bound or not state.ready) and not state.owner.alive():
                say(f"Cleaning up after the cluster {directory.name}, whose process {state.owner.pid} is gone")
                _clean(directory)


def names() -> list[str]:
    """Return the names of the clusters of this cache that run."""
    states = ((path.name, State.load(path)) for path in sorted((cache_dir() / "clusters").glob("*")))
    return [name for name, state in states if state and state.ready and state.running()]


def _clean(directory: Path, keep_logs: bool = False) -> None:
    """Undo all that a cluster has done to this machine, as far as it came; then delete its files."""
    if state := State.load(directory):
        sandbox = state.sandbox()
        if state.network:
            state.network.disconnect()
        sandbox.end()
        Components(state, sandbox).end()
        if state.network:
            remove_cgroup(state.cgroup)
        if left := _leftovers(state):
            raise ClusterError(f"the cluster {directory.name} left behind: " + "; ".join(left))
    for path in directory.iterdir() if directory.is_dir() else ():
        if not (keep_logs and path.name == "logs"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not keep_logs and directory.is_dir():
        directory.rmdir()


def _leftovers(state: State) -> list[str]:
    return leftovers.find(state.directory, state.processes(), state.cgroup, state.network)
