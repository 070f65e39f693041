"""``python -m tests.cluster``: the embedded cluster by hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.cluster import binaries, cluster, images, prerequisites
from tests.cluster.cache import cache_dir, say
from tests.cluster.errors import ClusterError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an error is one message on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a cluster that goes on until `down`")
    up.add_argument("--nodes", choices=("kubelet", "kwok", "none"), default="kubelet")
    up.add_argument("--count", type=int, default=1, help="how many nodes kwok plays")
    up.add_argument("--audit", action="store_true", help="write one line per API request to logs/audit.jsonl")
    down = commands.add_parser("down", help="stop a cluster and remove all it has on this machine")
    down.add_argument("--all", action="store_true", help="stop every cluster of this cache")
    env = commands.add_parser("env", help="print the shell lines that make kubectl and helm use a cluster")
    for command in (up, down, env):
        command.add_argument("--name", default="demo", help="the cluster's name (default: %(default)s)")
    commands.add_parser("list", help="name the clusters that run")
    commands.add_parser("build", help="build the binaries, or see that they are there")
    commands.add_parser("images", help="build the base image and the pause image, or see that they are there")
    needs = commands.add_parser("prerequisites", help="name what this machine lacks, one line each")
    needs.add_argument("--install", action="store_true", help="install it (as root, by apt-get)")
    needs.add_argument("--for", nargs="+", dest="purposes", choices=prerequisites.EVERYTHING,
                       default=list(prerequisites.EVERYTHING))
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace) -> int:
    match chosen.command:
        case "up":
            nodes = None if chosen.nodes == "none" else chosen.nodes
            made = cluster.EmbeddedCluster(nodes, name=chosen.name, node_count=chosen.count, audit=chosen.audit).start()
            say(f"The cluster {chosen.name} is up: {made.url}, logs in {made.logs_dir}")
            print(_exports(made))
        case "down":
            for name in _all_names() if chosen.all else [chosen.name]:
                cluster.EmbeddedCluster(name=name).stop()
                say(f"The cluster {name} is down")
        case "env":
            print(_exports(cluster.EmbeddedCluster.attach(chosen.name)))
        case "list":
            print("".join(f"{name}\n" for name in cluster.names()), end="")
        case "build":
            for path in (binaries.kubernetes(), binaries.helm(), binaries.kwok(), binaries.pause()):
                print(path)
        case "images":
            for image in (images.base_image(), images.pause_image()):
                print(image.reference, image.archive)
        case "prerequisites":
            lacking = prerequisites.missing(chosen.purposes)
            if chosen.install:
                prerequisites.install(lacking)
            elif lacking:
                print("\n".join(each.line for each in lacking))
                return 1
    return 0


def _exports(running: cluster.EmbeddedCluster) -> str:
    """Return the lines for a shell's ``eval``; comments tell the addresses this machine reaches."""
    paths = ":".join(dict.fromkeys(str(p.parent) for p in (binaries.kubernetes_command("kubectl"), binaries.helm())))
    lines = [f"export {key}={value}" for key, value in running.environment().items()]
    lines += [f"export PATH={paths}:$PATH"]
    if running.nodes == "kubelet":
        lines += [f"# from this machine you reach services ({running.service_cidr}) and pods ({running.pod_cidr}) directly",
                  f"# pods reach this machine at {running.host_ip}"]
    return "\n".join(lines)


def _all_names() -> list[str]:
    return [path.name for path in sorted(Path(cache_dir(), "clusters").glob("*")) if path.is_dir()]


if __name__ == "__main__":
    sys.exit(main())
