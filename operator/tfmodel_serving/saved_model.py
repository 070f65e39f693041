"""The versions under a base path, judged by their files alone, before a model server hears of them.

A version directory that appears file by file is `Incomplete` until its files have stopped changing: the real server would
load a half copied one and call it AVAILABLE (`variables.index` missing: every Predict then fails). Nothing here
imports TensorFlow or runs anything from a model.

Source: tensorflow/serving, sources/storage_path/file_system_storage_path_source.cc (which names are versions);
tensorflow/tensorflow, cc/saved_model/{constants.h,loader.cc} (which files make a SavedModel).
"""

from __future__ import annotations

import dataclasses
import enum
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from tfmodel_serving import model_config

MAX_FILES = 100_000
"""Files and directories looked at in one version; a SavedModel has some dozens."""
MAX_ENTRIES = 100_000
"""Directory entries looked at below a base path."""


class Verdict(enum.StrEnum):
    """What the files say about a version."""

    VERIFIED = "Verified"
    INCOMPLETE = "Incomplete"
    REJECTED = "Rejected"


class SourceUnavailable(Exception):
    """The base path can't be listed; the message says why. It says nothing about versions seen earlier."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one version, with the reason a person can act on."""

    verdict: Verdict
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One look at a version directory.

    Args:
        directory: Its name as it is on disk (``00007`` is version 7).
        fingerprint: Path, size, mtime and inode of all files: equal in two looks means that nothing was written between them.
    """

    directory: str
    finding: Finding
    fingerprint: tuple[tuple[str, int, int, int], ...] = ()


def look(base_path: str) -> dict[int, Look]:
    """Look at every version under ``base_path`` once.

    Raises:
        SourceUnavailable: It is missing, no directory, not readable, or holds more than :data:`MAX_ENTRIES` entries.
    """
    return {version: _look_at(Path(base_path) / directory, directory) for version, directory in list_versions(base_path).items()}


def list_versions(base_path: str) -> dict[int, str]:
    """Return version number to directory name. Of two names of one number (`7`, `007`) the shorter one is taken.

    Raises:
        SourceUnavailable: As for :func:`look`.
    """
    found: dict[int, str] = {}
    try:
        with os.scandir(base_path) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES:
                    raise SourceUnavailable(f"base path {base_path} holds more than {MAX_ENTRIES} entries")
                version = parse_version(entry.name)
                if version is not None and (version not in found or len(entry.name) < len(found[version])):
                    found[version] = entry.name
    except FileNotFoundError as error:
        raise SourceUnavailable(f"base path {base_path} does not exist") from error
    except OSError as error:
        raise SourceUnavailable(f"base path {base_path} can't be listed: {error.strerror}") from error
    return found


def parse_version(name: str) -> int | None:
    """Return the version a directory name stands for, or None. The server also takes 0 and negative numbers; we don't."""
    if not (name.isascii() and name.isdigit()) or len(name) > 32:
        return None
    version = int(name)
    return version if 1 <= version <= model_config.MAX_VERSION else None


def settle(now: Look, before: Look | None) -> Finding:
    """Return the finding of ``now``, which stands only if no file has changed since the look ``before``."""
    if now.finding.verdict is Verdict.VERIFIED and (before is None or before.fingerprint != now.fingerprint):
        return Finding(Verdict.INCOMPLETE, "files are still being written")
    return now.finding


def _look_at(path: Path, directory: str) -> Look:
    try:
        files, refused = _walk(path)
    except OSError as error:
        return Look(directory, Finding(Verdict.INCOMPLETE, f"{error.filename}: {error.strerror}"))
    fingerprint = tuple((name, status.st_size, status.st_mtime_ns, status.st_ino) for name, status in sorted(files.items()))
    return Look(directory, refused or _judge(files), fingerprint)


def _walk(path: Path) -> tuple[dict[str, os.stat_result], Finding | None]:
    """Stat everything below ``path``; also return why the version must be refused whatever its files hold, if it must."""
    if not path.is_dir():
        return {}, Finding(Verdict.REJECTED, "it is not a directory")
    volume = path.parent.resolve()
    root = path.resolve()
    if not root.is_relative_to(volume):
        return {}, Finding(Verdict.REJECTED, "it is a link that leaves the base path")
    files: dict[str, os.stat_result] = {}
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                name = os.path.relpath(entry.path, root)
                if len(files) >= MAX_FILES:
                    return files, Finding(Verdict.REJECTED, f"it holds more than {MAX_FILES} files")
                if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(volume):
                    return files, Finding(Verdict.REJECTED, f"{name} is a link that leaves the base path")
                status = entry.stat()
                files[name] = status
                if stat.S_ISDIR(status.st_mode):
                    if entry.is_symlink():
                        return files, Finding(Verdict.REJECTED, f"{name} is a link to a directory")
                    pending.append(Path(entry.path))
                elif not stat.S_ISREG(status.st_mode):
                    return files, Finding(Verdict.REJECTED, f"{name} is not a regular file")
                elif not os.access(entry.path, os.R_OK):
                    return files, Finding(Verdict.REJECTED, f"{name} can't be read by user {os.geteuid()}")
    return files, None


def _judge(files: Mapping[str, os.stat_result]) -> Finding:
    if not any(name in files and files[name].st_size for name in ("saved_model.pb", "saved_model.pbtxt")):
        return Finding(Verdict.INCOMPLETE, "saved_model.pb is missing")
    if "variables" in files:
        shards = [name for name in files if name.startswith("variables/variables.data-")]
        if "variables/variables.index" not in files and shards:
            return Finding(Verdict.INCOMPLETE, "variables/variables.index is missing")
        if shards:
            total = int(shards[0].rpartition("-of-")[2]) if shards[0].rpartition("-of-")[2].isdigit() else 0
            for number in range(total):
                name = f"variables/variables.data-{number:05}-of-{total:05}"
                if name not in files:
                    return Finding(Verdict.INCOMPLETE, f"{name} is missing")
        elif "variables/variables.index" in files:
            return Finding(Verdict.INCOMPLETE, "variables/variables.data-* is missing")
    return Finding(Verdict.VERIFIED)
