"""The namespaces a cluster lives in, and the one process that keeps them alive.

A cluster's processes run in a PID and a mount namespace of their own; a cluster with a real node in a network
namespace as well. They exist as long as the *holder*, PID 1 of that PID namespace. When it ends, for whatever reason,
the kernel ends every process in there (components, containerd's shims, pods), and with the last of them go the mounts,
the network devices and the iptables rules. So stopping is one SIGKILL, and nothing has to be found and undone piecemeal.

Containerd and the kubelet share the one mount namespace, so mount propagation between them works. The node's usual
places are put over the machine's own in there: /run, /var/log, /var/lib/{kubelet,containerd,cni} belong to the cluster.

A cluster of a ``with`` block is *bound*: the holder reads a pipe whose other end only this Python process has, and ends
with it, also when that is by SIGKILL.

Without root (or where namespaces are forbidden) the processes run plainly, which is enough for clusters without a node.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cache import run
from tests.cluster.errors import ClusterError, CommandFailed, ComponentFailed
from tests.cluster.process import Process, end, spawn

# Runs as PID 1 of the namespace. The first /proc is still the machine's, so the id written is the one seen from outside.
# dash's and bash's `wait` reap all children, also the orphans that PID 1 inherits.
_HOLDER = """
set -eu
read -r stat < /proc/self/stat; set -- "$1" "$2" "$3" $stat
mount --make-rshared /
mount -t proc proc /proc
if [ -n "$2" ]; then
    mount -t sysfs sysfs "$1/sysfs" && mount --rbind /sys/fs/cgroup "$1/sysfs/fs/cgroup" && mount --rbind "$1/sysfs" /sys
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /var/lib/cni
    mount --bind "$1/logs/node" /var/log
    mount --bind "$1/kubelet" /var/lib/kubelet
    mount --bind "$2" /var/lib/containerd
fi
echo "$4 ${25}" > "$1/holder.new"; mv "$1/holder.new" "$1/holder"
exec 9<&0
if [ "$3" = bound ]; then cat <&9 >/dev/null & else sleep infinity & fi
wait $!
"""


@dataclass(frozen=True)
class Sandbox:
    """The namespaces of one cluster; ``holder`` is None where the processes run plainly."""

    holder: Process | None
    own_network: bool
    leash: int | None = None  # our end of the pipe a bound holder reads; closed when this process ends

    def enter(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs ``argv`` inside."""
        if self.holder is None:
            return list(argv)
        network = ["--net"] if self.own_network else []
        return ["nsenter", "--target", str(self.holder.pid), "--mount", "--pid", *network, "--", *argv]

    def run(self, *argv: str, timeout: float | None = 60) -> str:
        """Run a command inside and return its stdout; errors as in ``cache.run``."""
        return run(self.enter(argv), timeout=timeout)

    def end(self) -> None:
        """End every process inside; returns when the last one is gone. Safe to repeat."""
        if self.holder:
            end([self.holder], grace=0)

    def release(self) -> None:
        """Let go of a bound holder; it ends by itself then."""
        if self.leash is not None:
            with contextlib.suppress(OSError):
                os.close(self.leash)


def start_sandbox(directory: Path, *, containerd_root: Path | None, bound: bool, keep_open: Sequence[int]) -> Sandbox:
    """Make the namespaces of a cluster.

    Args:
        directory: The cluster's state directory.
        containerd_root: Given for a cluster with a real node: what containerd keeps there outlives the cluster.
        bound: The cluster ends with this Python process.
        keep_open: File descriptors the holder inherits; a lock on one of them lasts exactly as long as the cluster.

    Raises:
        ClusterError: A node was asked for, and this machine doesn't let us make namespaces.
    """
    if reason := _forbidden():
        if containerd_root:
            raise ClusterError(f"a cluster with a real node needs root and namespaces, which are refused here: {reason}")
        return Sandbox(None, own_network=False)
    log, record = directory / "logs" / "holder.log", directory / "holder"
    if containerd_root:
        # Mount points must exist. These three are empty directories on a machine without Kubernetes, and stay behind.
        for place in ("/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd"):
            Path(place).mkdir(parents=True, exist_ok=True)
        for place in ("kubelet", "sysfs", "logs/node"):
            (directory / place).mkdir(parents=True, exist_ok=True)
    # Mounts made on the machine later show up inside (hostPath volumes); those made inside don't show up outside.
    argv = ["unshare", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child",
            *(["--net"] if containerd_root else []), "--", "sh", "-c", _HOLDER, "holder",
            str(directory), str(containerd_root or ""), "bound" if bound else "free"]
    read_end, leash = os.pipe()
    outer = spawn(argv, log, stdin=read_end if bound else subprocess.DEVNULL, pass_fds=keep_open)
    os.close(read_end)
    if not bound:
        os.close(leash)
    deadline = time.monotonic() + 10
    while not record.exists():
        if not outer.alive() or time.monotonic() > deadline:
            end([outer], grace=0)
            raise ComponentFailed("the holder of the namespaces", "did not start", log)
        time.sleep(0.01)
    holder = recorded_holder(directory)
    if holder is None:
        raise ComponentFailed("the holder of the namespaces", "ended at once", log)
    return Sandbox(holder, containerd_root is not None, leash if bound else None)


def recorded_holder(directory: Path) -> Process | None:
    """Return the holder that a state directory names, if it still runs."""
    try:
        pid, started = map(int, (directory / "holder").read_text().split())
    except (OSError, ValueError):
        return None
    holder = Process(pid, started)
    return holder if holder.alive() else None


@functools.cache
def _forbidden() -> str:
    """Return why namespaces can't be made here; empty when they can."""
    if os.geteuid() != 0:
        return "not root"
    try:
        run(["unshare", "--mount", "--pid", "--fork", "true"], timeout=10)
    except CommandFailed as error:
        return error.stderr.strip()
    return ""
