"""What can go wrong with an embedded cluster.

    ClusterError                 everything below; its message is meant to be read by a person
      MissingPrerequisite        a command this machine lacks, with the package that has it
      CommandFailed              kubectl, helm, ip, buildah … ended with an error; carries its stderr
      ComponentFailed            a component died or was not ready in time; names its log file
      WaitTimeout                ``wait_for`` gave up; carries the value it saw last
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class ClusterError(Exception):
    """Base of all errors raised by this package."""


class MissingPrerequisite(ClusterError):
    """This machine lacks something; one line per missing thing."""


class CommandFailed(ClusterError):
    """A command ended with an exit code other than 0."""

    def __init__(self, argv: Sequence[str], code: int, stderr: str, stdout: str = "") -> None:
        self.argv, self.code, self.stderr, self.stdout = list(argv), code, stderr, stdout
        said = "\n".join(part for part in (stderr.strip(), stdout.strip()) if part) or "(it printed nothing)"
        super().__init__(f"`{' '.join(argv)}` ended with exit code {code}: {said}")


class ComponentFailed(ClusterError):
    """A component of the cluster died, or was not ready in time."""

    def __init__(self, component: str, what: str, log: Path) -> None:
        self.component, self.log = component, log
        super().__init__(f"{component} {what}; its log is {log}, which ends with:\n{tail(log)}")


class WaitTimeout(ClusterError):
    """Something did not come true in time."""


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented; a long line is cut at 600 characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"    (not readable: {error})"
    return "\n".join(f"    {line[:600]}" for line in text.splitlines()[-lines:]) or "    (empty)"
