"""The files of one version directory: found, and opened, without ever leaving the volume or waiting for a pipe.

What is on a volume may change at any moment, by malice as well. So a file is opened only as what it was when it was
listed: same inode, size and time, a regular file, at a path on the volume, all asked of the descriptor itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfmodel_serving.problems import Broken, Missing, Unfinished, Unsettled
from tfmodel_serving.wire import Window

MAX_FILES = 10_000
"""Files and directories in one version; a SavedModel has some dozens, and every look stats them all."""
MAX_DEPTH = 32

WRITTEN = "files are still being written"
FOUND = "files have been looked at once, and must be the same at the next look"


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """One regular file.

    Args:
        size: Bytes.
        modified: mtime in nanoseconds.
        readable: By this process's user, which is the model server's as well.
    """

    size: int
    modified: int
    inode: int
    readable: bool

    @property
    def identity(self) -> tuple[int, int, int]:
        """What stays equal as long as nobody writes to the file or puts another one in its place."""
        return (self.size, self.modified, self.inode)


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """All files of a version directory at one moment: equal listings mean that nothing was written between them.

    Args:
        root: The directory, with all links resolved.
        volume: The mount, with all links resolved; nothing outside it is opened.
        files: By path below ``root``, in sorted order.
    """

    root: str
    volume: str
    files: Mapping[str, File]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())

    @property
    def directory(self) -> str:
        """The path of the directory below the volume."""
        return os.path.relpath(self.root, self.volume)

    def has_directory(self, name: str) -> bool:
        """Tell whether there is a file anywhere below ``name``."""
        return any(path.startswith(f"{name}/") for path in self.files)


def scan(base_path: str, directory: str, mount: str = "") -> Listing:
    """List the files of version ``directory`` below ``base_path``.

    Args:
        mount: The directory that links may not leave, with ``base_path`` below it; ``""``: ``base_path``.

    Raises:
        Broken: It is no directory, or holds what is neither file nor directory, a link that leaves the mount or
            closes a circle, or more than anybody should list.
        Unfinished: A directory may not be listed, or what is in it not be looked at, by this user.
        Missing: A link leads to nothing.
        Unsettled: The volume can't be read just now.
    """
    volume = os.path.realpath(mount or base_path)
    root = os.path.realpath(os.path.join(base_path, directory))
    if not _within(root, volume):
        raise Broken(f"it is behind a link that leaves {mount or base_path}")
    is_link = root != os.path.join(os.path.realpath(base_path), directory)
    if not stat.S_ISDIR(_status(root, "it", is_link=is_link).st_mode):
        raise Broken("it is not a directory")
    files: dict[str, File] = {}
    pending = [("", root, 0)]
    seen = 0
    while pending:
        prefix, path, depth = pending.pop()
        for entry in _entries(prefix, path):
            name = prefix + entry.name
            seen += 1
            if seen > MAX_FILES or depth > MAX_DEPTH:
                limit = f"{MAX_FILES} files" if seen > MAX_FILES else f"{MAX_DEPTH} levels of directories"
                raise Broken(f"it holds more than {limit}")
            target, status = _resolve(entry, name, volume)
            if stat.S_ISDIR(status.st_mode):
                if entry.is_symlink() and _within(os.path.realpath(path), target):
                    raise Broken(f"{name} is a link to a directory above it")
                pending.append((f"{name}/", target, depth + 1))
            elif stat.S_ISREG(status.st_mode):
                files[name] = File(status.st_size, status.st_mtime_ns, status.st_ino, os.access(target, os.R_OK))
            else:
                raise Broken(f"{name} is not a regular file")
    return Listing(root, volume, dict(sorted(files.items())))


@contextlib.contextmanager
def opened(listing: Listing, name: str) -> Iterator[Window]:
    """Open file ``name`` of ``listing`` for reading; on leaving, see that nobody has written to it meanwhile.

    Raises:
        Unfinished: It may not be read by this user.
        Unsettled: It isn't what was listed any more, has changed while it was read, or the volume can't be read just now.
    """
    file = listing.files[name]
    if not file.readable:
        raise Unfinished(f"{name} can't be read by user {os.geteuid()}")
    # O_NONBLOCK: a pipe put in its place must not hold us. The path was resolved when it was listed, so that a link
    # at its end is a new one; links further up show in the path of the descriptor.
    path = os.path.realpath(os.path.join(listing.root, name))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Unsettled(f"{name} can't be opened: {error.strerror}") from error
    try:
        if not _is_still(descriptor, file) or not _is_within(descriptor, listing.volume):
            raise Unsettled(WRITTEN)
        yield Window(descriptor, file.size)
        if not _is_still(descriptor, file):
            raise Unsettled(WRITTEN)
    except OSError as error:
        raise Unsettled(f"{name} can't be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _entries(prefix: str, path: str) -> list[os.DirEntry[str]]:
    name = prefix.rstrip("/") or "the directory"
    try:
        with os.scandir(path) as entries:
            return [entry for entry, _ in zip(entries, range(MAX_FILES + 1), strict=False)]
    except PermissionError as error:
        raise Unfinished(f"{name} can't be listed by user {os.geteuid()}") from error
    except FileNotFoundError as error:
        raise Unsettled(WRITTEN) from error
    except OSError as error:
        raise Unsettled(f"{name} can't be listed: {error.strerror}") from error


def _resolve(entry: os.DirEntry[str], name: str, volume: str) -> tuple[str, os.stat_result]:
    """Return the path and the state of what ``entry`` is or leads to."""
    if not entry.is_symlink():
        return entry.path, _status(entry.path, name, is_link=False)
    target = os.path.realpath(entry.path)
    if not _within(target, volume):
        raise Broken(f"{name} is a link that leaves {volume}")
    return target, _status(target, name, is_link=True)


def _status(path: str, name: str, *, is_link: bool) -> os.stat_result:
    """Return the state of ``path``, all links resolved, to which ``name`` leads if it is a link."""
    try:
        status = os.lstat(path)
    except FileNotFoundError as error:
        raise (Missing(f"{name} is a link to nothing") if is_link else Unsettled(WRITTEN)) from error
    except PermissionError as error:
        raise Unfinished(f"{name} can't be looked at by user {os.geteuid()}") from error
    except OSError as error:
        raise Unsettled(f"{name} can't be looked at: {error.strerror}") from error
    if stat.S_ISLNK(status.st_mode):  # only one that can't be resolved is left
        raise Broken(f"{name} is a link in a circle")
    return status


def _is_still(descriptor: int, file: File) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns, status.st_ino) == file.identity


def _is_within(descriptor: int, volume: str) -> bool:
    """Tell whether the opened file is below ``volume``, as the kernel sees it; without procfs the inode has to do."""
    try:
        return _within(str(Path(f"/proc/self/fd/{descriptor}").readlink()), volume)
    except OSError:
        return True


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
