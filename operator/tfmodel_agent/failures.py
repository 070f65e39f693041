"""Versions that failed, and when each may be tried again: sooner if it merely failed, later if it harmed the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

RETRY_SECONDS = (10.0, 30.0, 120.0, 600.0)
"""Waits before a version that failed is tried again; after the last one it stays out until its files change."""
DIED = 2
"""Failures that one death of the server counts for: everybody else's models died with it."""
HUNG = len(RETRY_SECONDS)
"""Failures that one hung load counts for: the server is killed for it, and was in the way of everything for so long."""

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


def retry_at(failure: Failure) -> float | None:
    """Return when a failed version may be pushed again, or None: not before its files change."""
    if failure.count > len(RETRY_SECONDS):
        return None
    return failure.at + RETRY_SECONDS[failure.count - 1]


def with_failed(
    failures: Failures, keys: Iterable[Key], message: str, fingerprints: Mapping[Key, object], now: float, count: int = 1
) -> Failures:
    """Return ``failures`` with one more of each of ``keys``, which counts for ``count`` at least."""
    added = {}
    for key in keys:
        before, fingerprint = failures.get(key), fingerprints.get(key)
        times = before.count + 1 if before is not None and before.fingerprint == fingerprint else 1
        added[key] = Failure(message, now, max(times, count), fingerprint)
    return {**failures, **added}


def forgiven(failures: Failures, keys: Iterable[Key]) -> Failures:
    """Return ``failures`` with those of ``keys`` as if they were of other files: each may be tried again, and counts anew."""
    asked = {key: dataclasses.replace(failures[key], fingerprint="asked anew") for key in set(keys) & set(failures)}
    return {**failures, **asked}
