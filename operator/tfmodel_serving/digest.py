"""The digest of a version's content: SHA-256 over a canonical list of its files.

The list has, for every file in the order of its path's bytes, one netstring-like line ``SHA256 SIZE LENGTH:PATH`` and a
newline; so equal digests mean equal files at equal paths, whatever their times, owners and inodes are.

Run as a program it hashes one directory at the lowest priority, in a process of its own: a thread of low priority that
holds Python's lock would keep the agent's other threads waiting whenever the model server is busy::

    $ echo '{"base_path": "/models/half", "directory": "3", "known": {}}' | python -m tfmodel_serving.digest
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from tfmodel_serving import files, problems
from tfmodel_serving.wire import Truncated, Window

CHUNK_BYTES = 1 << 20
MAX_BYTES = 1 << 40
"""Most that is hashed of one version, a quarter of an hour's work: a file with a hole may claim any size."""

Known = Mapping[str, tuple[tuple[int, int, int], str]]
"""Path to the file's identity (size, mtime, inode) and the SHA-256 it had, in hex."""


@dataclasses.dataclass(frozen=True, slots=True)
class Digest:
    """The digest of one listing: ``sha256:`` and 64 hex digits, with the hashes of its files for the next time."""

    value: str
    known: Known


def digest(listing: files.Listing, known: Known | None = None) -> Digest:
    """Hash all files of ``listing`` whose identity isn't in ``known``.

    Raises:
        Problem: A file can't be read, or has changed, or there is more than :data:`MAX_BYTES`.
    """
    if listing.size > MAX_BYTES:
        raise problems.Broken(f"{listing.size} bytes are too many for a digest")
    hashes = {}
    for name, file in listing.files.items():
        identity, value = (known or {}).get(name, (None, ""))
        hashes[name] = (file.identity, value if identity == file.identity else _hash(listing, name))
    whole = hashlib.sha256()
    for name, ((size, _, _), value) in sorted(hashes.items(), key=lambda item: os.fsencode(item[0])):
        path = os.fsencode(name)
        whole.update(f"{value} {size} {len(path)}:".encode() + path + b"\n")
    return Digest(f"sha256:{whole.hexdigest()}", hashes)


def _hash(listing: files.Listing, name: str) -> str:
    with files.opened(listing, name) as window:
        try:
            return _sha256(window)
        except Truncated as error:
            raise problems.Unsettled(files.WRITTEN) from error


def _sha256(window: Window) -> str:
    found = hashlib.sha256()
    for at in range(0, window.size, CHUNK_BYTES):
        found.update(window.read(at, min(CHUNK_BYTES, window.size - at)))  # outside Python's lock
    return found.hexdigest()


def to_dict(known: Known) -> dict[str, Any]:
    """Return ``known`` as JSON-ready values."""
    return {name: [list(identity), value] for name, (identity, value) in known.items()}


def from_dict(document: Mapping[str, Any]) -> dict[str, tuple[tuple[int, int, int], str]]:
    """Return what :func:`to_dict` was given."""
    return {name: ((size, modified, inode), value) for name, ((size, modified, inode), value) in document.items()}


def main() -> None:
    """Read a task from standard input, write the digest to standard output: one JSON object each."""
    os.nice(19)
    task = json.load(sys.stdin)
    try:
        found = digest(files.scan(task["base_path"], task["directory"]), from_dict(task["known"]))
    except problems.Problem as error:
        json.dump({"message": str(error)}, sys.stdout)
    else:
        json.dump({"digest": found.value, "known": to_dict(found.known)}, sys.stdout)


if __name__ == "__main__":
    main()
