"""What a machine must have before a cluster can start there, and what to install when it hasn't.

The list is ``prerequisites.txt``; Python, Go and root are checked here.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import pins
from tests.cluster.cache import PATH, run, say
from tests.cluster.errors import CommandFailed, MissingPrerequisite

LIST = Path(__file__).with_name("prerequisites.txt")
EVERYTHING = ("api", "kwok", "kubelet", "images")


@dataclass(frozen=True)
class Package:
    """One Debian package, and how to see that what we need of it is there."""

    name: str
    provides: str  # a command looked for in PATH, or an absolute path
    needed_for: tuple[str, ...]

    def installed(self) -> bool:
        """Say whether the command or file is there, wherever it came from."""
        if self.provides.startswith("/"):
            return Path(self.provides).exists()
        return bool(shutil.which(self.provides, path=f"{os.environ.get('KUBEBUILDER_ASSETS', '')}:{PATH}"))


@dataclass(frozen=True)
class Missing:
    """Something this machine lacks; ``package`` is None where apt can't help."""

    line: str
    package: str | None = None


def packages(path: Path = LIST) -> list[Package]:
    """Read the list."""
    rows = (line.partition("#")[0].split() for line in path.read_text().splitlines())
    return [Package(row[0], row[1], tuple(row[2:])) for row in rows if row]


def missing(purposes: Sequence[str] = EVERYTHING, *, known: Sequence[Package] | None = None,
            version_of_go: Callable[[], tuple[int, ...] | None] | None = None, user: int | None = None,
            python: tuple[int, ...] = sys.version_info[:2]) -> list[Missing]:
    """Return what is missing for the given purposes (of ``EVERYTHING``), one readable line each."""
    lines = [Missing(f"missing: {package.provides} (install the Debian package {package.name})", package.name)
             for package in (packages() if known is None else known)
             if set(package.needed_for) & set(purposes) and not package.installed()]
    if python < pins.MIN_PYTHON:
        lines.append(Missing(f"missing: Python {_dotted(pins.MIN_PYTHON)} or newer (this is {_dotted(python)}; "
                             "install the Debian packages python3 python3-venv of Debian 12 or newer)"))
    go = (version_of_go or go_version)()
    if go is None or go < pins.MIN_GO:
        found = "none" if go is None else _dotted(go)
        lines.append(Missing(f"missing: Go {_dotted(pins.MIN_GO)} or newer ({found} found; install the Debian package golang-go "
                             "of Debian 13 or of bookworm-backports, or see https://go.dev/doc/install)"))
    if (os.geteuid() if user is None else user) != 0 and {"kubelet", "images"} & set(purposes):
        lines.append(Missing("missing: root (a real node and image builds need it: run this as root, for instance with sudo)"))
    return lines


def require(*purposes: str) -> None:
    """Raise MissingPrerequisite, with one line for each missing thing, unless all is there."""
    if lines := missing(purposes):
        raise MissingPrerequisite("\n".join(each.line for each in lines))


def install(wanted: Sequence[Missing]) -> None:
    """Install the packages of what is missing by apt-get, saying so.

    Raises:
        MissingPrerequisite: Something among it is no package, or this is not root on a machine with apt-get.
        CommandFailed: apt-get failed.
    """
    names = sorted({each.package for each in wanted if each.package})
    if names and os.geteuid() == 0 and shutil.which("apt-get", path=PATH):
        say(f"Installing Debian packages: {' '.join(names)}")
        apt = {"DEBIAN_FRONTEND": "noninteractive"}
        try:
            run(["apt-get", "update"], env=apt)
        except CommandFailed as error:  # One foreign repository out of reach is no reason to stop: Debian's may be fine.
            say(f"apt-get update reported: {error.stderr.strip().splitlines()[-1]}")
        run(["apt-get", "install", "--yes", "--no-install-recommends", *names], env=apt)
        # Debian starts etcd when it installs it; every cluster starts its own, and this one would only hold the port.
        if "etcd-server" in names and Path("/run/systemd/system").exists():
            run(["systemctl", "disable", "--now", "etcd"])
        wanted = [each for each in wanted if each.package not in names]
    if wanted:
        raise MissingPrerequisite("\n".join(each.line for each in wanted))


def go_version() -> tuple[int, ...] | None:
    """Return the installed Go's version (without a toolchain it would download); None without Go."""
    try:
        said = run(["go", "version"], env={"GOTOOLCHAIN": "local"}, cwd=Path("/"))
    except (MissingPrerequisite, CommandFailed):
        return None
    found = re.search(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
