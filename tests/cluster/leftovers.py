"""What a cluster has on this machine, outside its state directory: while it runs, and (hopefully not) after it stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import node
from tests.cluster.cache import PATH, run
from tests.cluster.network import Network
from tests.cluster.process import Process


def find(directory: Path, processes: Sequence[Process], cgroup: str, network: Network | None) -> list[str]:
    """Return one line for each process, mount, cgroup, link, route and iptables rule that belongs to a cluster.

    Only this machine's own namespaces are looked at: what is in the cluster's goes with its last process.
    """
    found = [f"process {each.pid}" for each in processes if each.alive()]
    found += [f"process {pid} in the cgroup {cgroup}" for pid in _members(cgroup)]
    found += [f"cgroup {path}" for hierarchy in node.hierarchies() if (path := hierarchy / cgroup.lstrip("/")).exists()]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found += [f"mount {place}" for place in mounts if place.startswith(f"{directory}/")]
    if network:
        if network.exists():
            found.append(f"link {network.link}")
        routes = json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]) or "[]")
        found += [f"route {route['dst']}" for route in routes if route.get("dev") == network.link]
        if shutil.which("iptables-save", path=PATH):
            addresses = tuple(cidr.rsplit(".", 2)[0] + "." for cidr in (network.pod_cidr, network.service_cidr))
            found += [f"iptables rule {rule}" for rule in run(["iptables-save"]).splitlines()
                      if any(f" {address}" in rule for address in addresses)]
    return found


def _members(cgroup: str) -> list[str]:
    if not any((hierarchy / cgroup.lstrip("/")).exists() for hierarchy in node.hierarchies()):
        return []
    members = []
    for file in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if any(line.split(":", 2)[2].startswith(cgroup + "/") for line in file.read_text().splitlines()):
                members.append(file.parent.name)
        except OSError:  # It ended while we looked.
            continue
    return members
