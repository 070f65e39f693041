"""Starting a model server: as a process, or in a container. The tests cannot tell which."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STAND_IN = ROOT / "tests" / "modelserver" / "tensorflow_model_server"
SERVER_IN_IMAGE = "/usr/bin/tensorflow_model_server"
UNPRIVILEGED = 54321  # a user that runs nothing else: limits on processes count per user


@dataclass(frozen=True)
class Constraints:
    """How the process is confined.

    Args:
        as_user: Run as an ordinary user.
        max_threads: Limit on processes and threads (RLIMIT_NPROC).
        as_pid_1: First process of a PID namespace; in a container it always is.
    """

    as_user: bool = False
    max_threads: int | None = None
    as_pid_1: bool = False


class Running:
    """A server process; ``log`` is all it has printed so far."""

    is_pid_1 = False

    def __init__(self, command: Sequence[str], log: Path, preexec: Callable[[], None] | None = None) -> None:
        self._log = log
        with log.open("wb") as output:
            # What the server logs is part of what is tested, however quiet the tests themselves should be.
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=preexec, env=environment
            )

    @property
    def log(self) -> str:
        """Everything printed so far."""
        return self._log.read_text(errors="replace")

    def exit_code(self, timeout: float = 30.0) -> int:
        """Wait for the end and return the exit code; 128 + n after signal n."""
        code = self._process.wait(timeout)
        return code if code >= 0 else 128 - code

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server itself."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


class _RunningInPidNamespace(Running):
    """``unshare`` is the process we started; the server is its child, PID 1 inside."""

    is_pid_1 = True

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._server(), number)

    def kill(self) -> None:
        if self.alive:
            os.kill(self._server(), signal.SIGKILL)
        self._process.wait()

    def _server(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + 10
        while not (found := children.read_text().split()):
            if time.monotonic() > deadline:
                raise TimeoutError("unshare started no server")
            time.sleep(0.02)
        return int(found[0])


class _RunningContainer(Running):
    is_pid_1 = True

    def __init__(self, tool: str, name: str, command: Sequence[str], log: Path) -> None:
        self._tool, self._name = tool, name
        super().__init__(command, log)

    def signal(self, number: signal.Signals) -> None:
        subprocess.run([self._tool, "kill", "--signal", str(int(number)), self._name], check=True, capture_output=True)

    def kill(self) -> None:
        # Not `rm --force`, with which podman asks first, and waits ten seconds for what PID 1 ignores.
        subprocess.run([self._tool, "kill", "--signal", "KILL", self._name], check=False, capture_output=True)
        super().kill()


@dataclass
class Launcher:
    """Starts what BINARY or IMAGE in the environment name; without either, the stand-in.

    ``scratch`` is a directory the server can read at the same path.
    """

    scratch: Path
    binary: str | None = field(default_factory=lambda: os.environ.get("BINARY") or None)
    image: str | None = field(default_factory=lambda: os.environ.get("IMAGE") or None)

    def start(self, arguments: Sequence[str], constraints: Constraints) -> Running:
        """Start a server."""
        log = self.scratch / f"server-{uuid.uuid4().hex[:8]}.log"
        if self.image:
            return self._start_container(self.image, arguments, constraints, log)
        command = [self.binary or str(STAND_IN), *arguments]
        if not os.access(command[0], os.X_OK):
            pytest.fail(f"BINARY={command[0]} is not an executable file")
        if constraints.as_pid_1:
            unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
            _require_root("a PID namespace")
            return _RunningInPidNamespace([*unshare, *command], log)
        preexec = None
        if constraints.as_user or constraints.max_threads:
            _require_root("to become another user")
            preexec = _confinement(constraints)
        return Running(command, log, preexec)

    def _start_container(self, image: str, arguments: Sequence[str], constraints: Constraints, log: Path) -> _RunningContainer:
        tool = container_tool()
        if tool is None:
            pytest.fail(f"IMAGE={image} needs docker or podman, and neither works here: see `docker info` (or set BINARY instead)")
        name = f"contract-{uuid.uuid4().hex[:12]}"
        command = [tool, "run", "--rm", "--name", name, "--network", "host", "--entrypoint", SERVER_IN_IMAGE]
        command += ["--volume", f"{self.scratch}:{self.scratch}"]
        if constraints.as_user or constraints.max_threads:
            command += ["--user", str(UNPRIVILEGED)]
        if constraints.max_threads:
            command += ["--ulimit", f"nproc={constraints.max_threads}:{constraints.max_threads}"]
        return _RunningContainer(tool, name, [*command, image, *arguments], log)


@functools.cache
def container_tool() -> str | None:
    """Return the first tool that can run containers; a docker without its daemon can't."""
    installed = [tool for tool in ("docker", "podman") if shutil.which(tool)]
    return next((tool for tool in installed if subprocess.run([tool, "info"], check=False, capture_output=True).returncode == 0), None)


def _confinement(constraints: Constraints) -> Callable[[], None]:
    def confine() -> None:
        if constraints.max_threads:
            resource.setrlimit(resource.RLIMIT_NPROC, (constraints.max_threads, constraints.max_threads))
        os.setgroups([])
        os.setgid(UNPRIVILEGED)
        os.setuid(UNPRIVILEGED)

    return confine


def _require_root(what: str) -> None:
    if os.geteuid() != 0:
        pytest.fail(f"this test needs root: {what}")
