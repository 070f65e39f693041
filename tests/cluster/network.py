"""Addresses of a cluster with a real node, and the wire between its network namespace and the machine.

Each cluster has a *slot*, a number held by a lock for as long as the cluster lives. It gives the cluster one /15:

    10.<192+2n>.0.0/16    pods             10.<193+2n>.0.0/17      services
    10.<193+2n>.255.252/30   the wire: .253 is the machine's end, .254 the node (InternalIP, API server)

The machine routes the /15 over the wire, so a test calls pods and services as if it ran in the cluster: traffic to a
service address enters the namespace and meets kube-proxy's PREROUTING rules there. Nothing is changed on the machine
but one link and one route; they end with the namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.cluster.cache import content_hash, run
from tests.cluster.errors import ClusterError, CommandFailed
from tests.cluster.sandbox import Sandbox

SLOTS = range(16)
# Not in the cache directory: two caches on one machine still share its routes.
LOCKS = Path("/run/tfmodel-clusters")


@dataclass(frozen=True)
class Network:
    """The addresses of one slot, and the wire of the cluster that has it."""

    slot: int
    directory: str  # the cluster's own: caches may have clusters of one name

    @property
    def whole(self) -> str:
        """The range the machine routes into the cluster."""
        return f"10.{192 + 2 * self.slot}.0.0/15"

    @property
    def pod_cidr(self) -> str:
        """The range of pod addresses."""
        return f"10.{192 + 2 * self.slot}.0.0/16"

    @property
    def service_cidr(self) -> str:
        """The range of ClusterIPs."""
        return f"10.{193 + 2 * self.slot}.0.0/17"

    @property
    def host_ip(self) -> str:
        """The machine's end of the wire: pods reach servers of the test there."""
        return f"10.{193 + 2 * self.slot}.255.253"

    @property
    def node_ip(self) -> str:
        """The node's end of the wire."""
        return f"10.{193 + 2 * self.slot}.255.254"

    @property
    def link(self) -> str:
        """The name of the machine's end of the wire."""
        return f"tfm-{content_hash(self.directory)[:10]}"  # at most 15 characters

    def connect(self, sandbox: Sandbox) -> None:
        """Lay the wire between the machine and the namespace of ``sandbox``, and turn the node into a router."""
        assert sandbox.holder
        run(["ip", "link", "add", self.link, "type", "veth", "peer", "name", "uplink", "netns", str(sandbox.holder.pid)])
        run(["ip", "-batch", "-"], input=f"address add {self.host_ip}/30 dev {self.link}\nlink set {self.link} up\n"
                                         f"route add {self.whole} via {self.node_ip} dev {self.link} onlink\n")
        # rp_filter: a reply may leave by another way than the one its request came from (service → pod).
        # send_redirects: a pod that calls itself through a service is sent back over its own link, rightly.
        sandbox.run("sh", "-ec", f"""
            ip link set lo up; ip address add {self.node_ip}/30 dev uplink; ip link set uplink up
            ip route add default via {self.host_ip}
            cd /proc/sys/net/ipv4; echo 1 > ip_forward
            for place in all default uplink; do echo 0 > conf/$place/rp_filter; echo 0 > conf/$place/send_redirects; done""")

    def disconnect(self) -> None:
        """Remove the wire (and with it the route); the kernel would do so too, a moment after the namespace's end."""
        with contextlib.suppress(CommandFailed):
            run(["ip", "link", "delete", self.link])

    def exists(self) -> bool:
        """Say whether the machine's end of the wire is there."""
        return Path("/sys/class/net", self.link).exists()


@contextlib.contextmanager
def free_slot(directory: str) -> Iterator[tuple[Network, int]]:
    """Yield the first free slot's network, and the descriptor of its lock; whoever inherits that keeps the slot.

    A slot whose addresses this machine already routes elsewhere (a VPN, a company's network) is passed over.

    Raises:
        ClusterError: All are taken.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    for slot in SLOTS:
        with (LOCKS / f"slot-{slot}").open("a") as file:
            network = Network(slot, directory)
            if _lock(file) and not _routed_elsewhere(network):
                yield network, file.fileno()
                return
    raise ClusterError(f"all {len(SLOTS)} slots for clusters are taken, or their addresses are in use on this machine; "
                       "`python -m tests.cluster down --all` stops the clusters")


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _routed_elsewhere(network: Network) -> bool:
    mine = ipaddress.ip_network(network.whole)
    routes = json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]) or "[]")
    others = (ipaddress.ip_network(route["dst"], strict=False) for route in routes if route["dst"] != "default")
    # A route to all of 10/8 is somebody's way out, not a neighbour: ours is more specific and wins.
    return any(mine.overlaps(other) for other in others if other.prefixlen > 8)
