"""Which directories below a base path are versions.

Source: tensorflow/serving, sources/storage_path/file_system_storage_path_source.cc (names that parse as an int64).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from tfmodel_serving import model_config

MAX_ENTRIES = 100_000
"""Directory entries looked at below a base path."""


class SourceUnavailable(Exception):
    """The base path can't be listed; the message says why. It says nothing about versions seen earlier."""


@dataclasses.dataclass(frozen=True, slots=True)
class Versions:
    """What is below a base path.

    Args:
        directories: Version to the name of its directory (``00007`` is version 7).
        ignored: Names that are no version, or a second name of one; sorted.
    """

    directories: Mapping[int, str]
    ignored: tuple[str, ...] = ()


def list_versions(base_path: str) -> Versions:
    """List the versions below ``base_path``. Of two names of one number (`7`, `007`) the shorter one is taken.

    Raises:
        SourceUnavailable: It is missing, no directory, not readable, or holds more than :data:`MAX_ENTRIES` entries.
    """
    found: dict[int, str] = {}
    ignored: list[str] = []
    try:
        with os.scandir(base_path) as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES:
                    raise SourceUnavailable(f"base path {base_path} holds more than {MAX_ENTRIES} entries")
                version = parse_version(entry.name)
                if version is None:
                    ignored.append(entry.name)
                    continue
                other = found.get(version)
                if other is None or (len(entry.name), entry.name) < (len(other), other):
                    found[version] = entry.name
                else:
                    other = entry.name
                if other is not None:
                    ignored.append(other)
    except FileNotFoundError as error:
        raise SourceUnavailable(f"base path {base_path} does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceUnavailable(f"base path {base_path} can't be listed: {text}") from error
    return Versions(found, tuple(sorted(ignored)))


def parse_version(name: str) -> int | None:
    """Return the version a directory name stands for, or None. The server also takes 0 and negative numbers; we don't."""
    if not (name.isascii() and name.isdigit()) or len(name) > 32:
        return None
    version = int(name)
    return version if 1 <= version <= model_config.MAX_VERSION else None
