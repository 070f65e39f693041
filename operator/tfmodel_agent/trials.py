"""Loading again, alone, what may have taken the model server down (:mod:`tfmodel_agent.crashes`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tfmodel_agent import crashes, failures
from tfmodel_agent import history as memory


def is_barred(key: failures.Key, history: memory.History) -> bool:
    """Tell whether a version must not be loaded now because the server died while it was loading."""
    return key in history.crashes and key not in history.loading and key != history.trial


def running(history: memory.History) -> failures.Key | None:
    """Return the version that is being loaded alone: until that is over nothing else is begun."""
    return next((key for key in sorted(history.loading) if key in history.crashes), None)


def due(can_be_loaded: Iterable[failures.Key], history: memory.History, now: float) -> list[failures.Key]:
    """Return the versions whose turn has come, those first that have done the least harm."""
    due = []
    for key in can_be_loaded:
        crash = history.crashes.get(key)
        again = crashes.retry_at(crash, has_neighbours=has_neighbours(key, history)) if crash else None
        if crash is not None and again is not None and now >= again:
            due.append((crash.alone, crash.at, key))
    return [key for _, _, key in sorted(due)]


def has_neighbours(key: failures.Key, history: memory.History) -> bool:
    """Tell whether anything else serves, or did before the server died."""
    return bool((history.serving | history.served) - {key})


def is_proven(key: failures.Key, fingerprints: Mapping[int, object], history: memory.History) -> bool:
    """Tell whether a version has been AVAILABLE with the files it has now."""
    return key in history.proven and history.proven[key] == crashes.mark(fingerprints.get(key[1]))


def serves_other_files(key: failures.Key, fingerprints: Mapping[int, object], history: memory.History) -> bool:
    """Tell whether a version serves what its files were when it was loaded, and they are others now."""
    is_known = key in history.serving and key in history.proven and fingerprints.get(key[1]) is not None
    return is_known and not is_proven(key, fingerprints, history)


def describe(key: failures.Key, history: memory.History) -> str:
    """Say what speaks against a version and what comes next; ``""`` if nothing does."""
    crash = history.crashes.get(key)
    return crashes.describe(key[1], crash, has_neighbours=has_neighbours(key, history)) if crash else ""
