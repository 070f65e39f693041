"""Finds versions on disk: polls every model's base path and says which versions are aspired.

Source: sources/storage_path/file_system_storage_path_source.cc.
"""

# os.path answers as access(2) does, where pathlib raises for what may not be looked at:
# ruff: noqa: PTH110, PTH208
from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tests.modelserver import log, status

Versions = list[tuple[int, str]]  # number, path

_INT64 = range(-(2**63), 2**63)
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)


class PathSource:
    """Tells the manager which versions of each model to have.

    Args:
        aspire: Called with a model's name and its versions, for *every* model, at every poll.
    """

    def __init__(self, aspire: Callable[[str, Sequence[tuple[int, str]]], None]) -> None:
        self._aspire = aspire
        self._lock = threading.Lock()
        self._config: tuple[Any, ...] = ()  # ModelConfig messages, in the config's order

    def names(self) -> set[str]:
        """Return the models being watched."""
        with self._lock:
            return {model.name for model in self._config}

    def update(self, models: Iterable[Any]) -> None:
        """Watch ``models`` from the next poll on; a model no longer listed is un-aspired at once.

        Nothing else happens before that poll: two updates within one period are seen as the second alone, and with
        ``--file_system_poll_wait_seconds=0`` (one poll, ever) a new model is never looked for.
        """
        new = tuple(models)
        with self._lock:
            kept = {model.name for model in new}
            for model in self._config:
                if model.name not in kept:
                    self._aspire(model.name, [])
            self._config = new

    def poll(self) -> None:
        """Look at every base path, then report; the first one that cannot be read ends the poll with *no* report.

        That is why one missing base path stops the discovery of all models' versions.
        """
        with self._lock:
            try:
                found = [(model.name, versions_of(model)) for model in self._config]
            except status.StatusError as failure:
                log.error("source", f"FileSystemStoragePathSource encountered a filesystem access error: {failure.message}")
                return
            for name, versions in sorted(found):
                self._aspire(name, versions)


def versions_of(model: Any) -> Versions:
    """Return the versions of one model to aspire to.

    Raises:
        StatusError: The base path does not exist or cannot be listed.
    """
    if not os.path.lexists(model.base_path) or not os.path.exists(model.base_path):
        raise status.StatusError(
            status.Code.INVALID_ARGUMENT,
            f"Could not find base path {model.base_path} for servable {model.name}"
            f" with error NOT_FOUND: {model.base_path} not found",
        )
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice") or "latest"
    if choice == "specific":
        versions = _specific_without_listing(model.base_path, model.name, policy.specific.versions)
        if versions is not None:
            return versions
    children = _children(model.base_path)
    if choice == "all":
        versions = [(version, path) for version, path in _numbered(model.base_path, children)]
    elif choice == "latest":
        by_version = dict(_numbered(model.base_path, children))  # of "01" and "1" the last one wins
        newest = sorted(by_version, reverse=True)[: max(policy.latest.num_versions, 1)]
        versions = [(version, by_version[version]) for version in newest]
    else:
        versions = _specific(model, dict(_numbered(model.base_path, children)))
    if not versions:
        log.warning(
            "source",
            f"No versions of servable {model.name} found under base path {model.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?",
        )
    return versions


def _children(base_path: str) -> list[str]:
    try:
        return sorted(os.listdir(base_path))
    except OSError as error:
        raise status.from_os_error(base_path, error) from error


def _numbered(base_path: str, children: Iterable[str]) -> Iterable[tuple[int, str]]:
    """Yield the children whose name is an int64: negative ones, zero and plain files included."""
    for child in children:
        if _INTEGER.fullmatch(child) and int(child) in _INT64:
            yield int(child), os.path.join(base_path, child)


def _specific_without_listing(base_path: str, name: str, wanted: Sequence[int]) -> Versions | None:
    """Return the wanted versions if all exist under their plain names; else the directory must be listed."""
    if not wanted:
        log.warning("source", f"No specific versions requested for servable {name}.")
        return []
    versions = [(version, os.path.join(base_path, str(version))) for version in wanted]
    return versions if all(os.path.exists(path) for _, path in versions) else None


def _specific(model: Any, by_version: dict[int, str]) -> Versions:
    wanted = set(model.model_version_policy.specific.versions)
    for version in sorted(wanted - by_version.keys()):
        log.warning(
            "source",
            f"Version {version} of servable {model.name}, which was requested to be served as a 'specific' version in "
            "the servable's version policy, was not found in the file system",
        )
    return [(version, by_version[version]) for version in sorted(wanted & by_version.keys())]
