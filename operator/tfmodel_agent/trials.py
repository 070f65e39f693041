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
        again = _retry_at(key, crash, history) if crash else None
        if crash is not None and again is not None and now >= again:
            due.append((crash.alone, crash.at, key))
    return [key for _, _, key in sorted(due)]


def _retry_at(key: failures.Key, crash: crashes.Crash, history: memory.History) -> float | None:
    has_neighbours = bool((history.serving | history.served) - {key})
    is_missed = has_served(key, history) and not history.is_fed  # clients are not sent to the neighbours either
    return crashes.retry_at(crash, protects=has_neighbours and not is_missed, has_served=has_served(key, history))


def has_served(key: failures.Key, history: memory.History) -> bool:
    """Tell whether a version that is suspected has been AVAILABLE with the files that it had when the server died."""
    return key in history.crashes and history.proven.get(key) == history.crashes[key].mark


def is_given_up(key: failures.Key, history: memory.History) -> bool:
    """Tell whether the server has died of a version so often that nothing should wait for it any longer."""
    return key in history.crashes and history.crashes[key].alone > len(crashes.SERVED_SECONDS)


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
    return crashes.describe(key[1], crash, _retry_at(key, crash, history)) if crash else ""
