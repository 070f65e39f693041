"""The cache outside the checkout: things built once, keyed by a hash of what they are built from.

Layout of ``cache_dir()``:

    build/<name>-<key>/      binaries                         images/<name>-<key>.tar   built images
    buildah/                 layers of image builds           pip/                      wheels used by image builds
    containerd/slot-<n>/     images inside nodes, kept between runs, so that a second start imports nothing
    clusters/<name>/         the state of one cluster: configuration, certificates, logs
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.cluster.errors import CommandFailed, MissingPrerequisite

# Where Debian keeps the commands of administrators; a user's PATH often lacks them.
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def cache_dir() -> Path:
    """Return ``$TFMODEL_CACHE`` or ``~/.cache/tfmodel``; it need not exist yet."""
    return Path(os.environ.get("TFMODEL_CACHE") or "~/.cache/tfmodel").expanduser().absolute()


def say(text: str) -> None:
    """Tell the person who waits what is going on (stderr: stdout belongs to results)."""
    print(f"[cluster] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(what: str, usually: str = "") -> Iterator[None]:
    """Announce a step that takes a while, and say afterwards how long it took."""
    say(f"{what} …{f' (usually {usually})' if usually else ''}")
    begin = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - begin:.1f} s")


def content_hash(*parts: str | bytes | Path) -> str:
    """Return 12 hex digits over texts, and over the names and contents of files and directories."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file():
                    name = str(file.relative_to(part)) if file != part else part.name
                    content = file.read_bytes()
                    # The mode counts as well: a script that becomes executable is another image.
                    digest.update(f"{name}\0{file.stat().st_mode & 0o111}\0{len(content)}\0".encode() + content)
        else:
            content = part.encode() if isinstance(part, str) else part
            digest.update(f"{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``, waiting for other processes; it ends with the process at the latest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def built(name: str, key: str, build: Callable[[Path], None], usually: str) -> Path:
    """Return ``build/<name>-<key>``, made by ``build(directory)`` if it is not there yet.

    Half-built directories never get the final name, and two processes never build the same thing twice.
    """
    target = cache_dir() / "build" / f"{name}-{key}"
    if target.is_dir():
        return target
    with locked(cache_dir() / "build" / f"{name}.lock"):
        if target.is_dir():
            return target
        with step(f"Building {name}", usually):
            unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
            try:
                build(unfinished)
                unfinished.chmod(0o755)
                unfinished.rename(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return target


def run(argv: Sequence[str], *, input: str | None = None, env: Mapping[str, str] | None = None,
        cwd: Path | None = None, timeout: float | None = None, pass_fds: Sequence[int] = ()) -> str:
    """Run a command and return its stdout.

    Args:
        env: Added to the environment of this process.
        timeout: Seconds; None waits as long as it takes.

    Raises:
        CommandFailed: It ended with another exit code than 0, or not in time (code 124); the error carries stderr.
        MissingPrerequisite: The command is not installed.
    """
    environment = {**os.environ, "PATH": PATH, **(env or {})}
    try:
        done = subprocess.run(argv, input=input, stdin=None if input is not None else subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", env=environment, cwd=cwd,
                              timeout=timeout, pass_fds=pass_fds)
    except FileNotFoundError as error:
        raise MissingPrerequisite(f"the command {argv[0]!r} is missing; `python -m tests.cluster prerequisites` "
                                  "names its package") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, 124, f"no end within {timeout} s") from error
    if done.returncode:
        raise CommandFailed(argv, done.returncode, done.stderr, done.stdout)
    return done.stdout
