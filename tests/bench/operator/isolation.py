"""A network namespace of the benchmark's own, in which every pod address is this machine's.

kwok's pods have addresses and nobody behind them. In here the kernel takes all of them as local, so one process that
listens on all addresses answers for every pod, and nothing leaves the namespace or needs a route on the machine.
Everything runs inside: the control plane, kwok, the operator, the agents and the benchmark. It ends with its last process.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Sequence

from tests.cluster.cache import PATH, run
from tests.cluster.controlplane import FAKE_POD_CIDR
from tests.cluster.errors import ClusterError

_ENTER = 'ip link set lo up; ip route add local "$1" dev lo; shift; exec "$@"'


def enter(module: str, arguments: Sequence[str]) -> None:
    """Return inside such a namespace; outside of one, this process starts over in one of its own as ``python -m module``.

    Raises:
        ClusterError: This machine doesn't let us make one.
    """
    if _pods_are_local():
        return
    if os.geteuid() != 0:
        raise ClusterError("the benchmark needs a network namespace of its own: run it as root")
    inside = ["sh", "-ec", _ENTER, "sh", FAKE_POD_CIDR, sys.executable, "-m", module, *arguments]
    sys.stdout.flush()
    os.execvpe("unshare", ["unshare", "--net", "--", *inside], {**os.environ, "PATH": PATH})  # noqa: S606


def _pods_are_local() -> bool:
    address = str(ipaddress.ip_network(FAKE_POD_CIDR)[1])
    return run(["ip", "route", "show", "table", "local", "match", address]).startswith(f"local {FAKE_POD_CIDR}")
