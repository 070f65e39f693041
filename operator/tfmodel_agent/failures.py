"""Versions that failed to load, and when each may be tried again. Those that harm the server are in :mod:`.crashes`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

RETRY_SECONDS = (10.0, 30.0, 120.0, 600.0)
"""Waits before a version that failed is tried again; after the last one it stays out until its files change, unless it has
served with them."""
Key = tuple[str, int]
"""Model and version."""


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A version that failed. ``fingerprint`` names the files it was loaded from."""

    message: str
    at: float
    count: int = 1
    fingerprint: object = None


Failures = Mapping[Key, Failure]


def retry_at(failure: Failure, *, has_served: bool = False) -> float | None:
    """Return when a failed version may be pushed again, or None: not before its files change.

    Args:
        has_served: It has been AVAILABLE with the same files: it is the machine that has changed, and may change again.
    """
    if failure.count > len(RETRY_SECONDS) and not has_served:
        return None
    return failure.at + RETRY_SECONDS[min(failure.count, len(RETRY_SECONDS)) - 1]


def with_failed(failures: Failures, key: Key, message: str, fingerprint: object, now: float) -> Failures:
    """Return ``failures`` with one more of the version ``key``."""
    before = failures.get(key)
    count = before.count + 1 if before is not None and before.fingerprint == fingerprint else 1
    return {**failures, key: Failure(message, now, count, fingerprint)}


def forgiven(failures: Failures, keys: Iterable[Key]) -> Failures:
    """Return ``failures`` with those of ``keys`` as if they were of other files: each may be tried again, and counts anew."""
    asked = {key: dataclasses.replace(failures[key], fingerprint="asked anew") for key in set(keys) & set(failures)}
    return {**failures, **asked}
