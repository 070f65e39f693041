"""What outlives the agent's process: a small file beside the view, in a volume that is the pod's own.

It is written before a reload is sent, because the reload may be the last thing both processes do. Losing it costs some
safety after the next crash, and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfmodel_agent import crashes, failures
from tfmodel_agent import history as memory

log = logging.getLogger(__name__)

SCHEMA = 1

_KEPT = ("loading", "proven", "serving", "served", "labels", "crashes", "is_fed", "was_fed")


class Journal:
    """The file at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: object = None

    def read(self, now: float) -> memory.History:
        """Return what an earlier agent of this pod has left, or an empty history."""
        try:
            return from_json(self._path.read_text(), now)
        except FileNotFoundError:
            return memory.History(began_at=now)
        except (OSError, ValueError) as error:
            log.warning("Journal can't be used and is begun anew", extra={"error": str(error)})
            return memory.History(began_at=now)

    def write(self, history: memory.History) -> None:
        """Put ``history`` on disk, if there is anything new in it."""
        facts = (_in_flight(history), *(getattr(history, name) for name in _KEPT))
        if facts == self._written:
            return
        staged = self._path.with_name(f"{self._path.name}.new")
        try:
            staged.write_text(to_json(history))
            staged.replace(self._path)
        except OSError as error:
            log.warning("Journal can't be written", extra={"error": str(error)})
        else:
            self._written = facts


def to_json(history: memory.History) -> str:
    """Return the text of the file."""
    document = {
        "schema": SCHEMA,
        "in_flight": sorted(_in_flight(history)),
        "loading": {_name(key): dataclasses.asdict(load) for key, load in history.loading.items()},
        "proven": {_name(key): mark for key, mark in history.proven.items()},
        "serving": _names(history.serving),
        "served": _names(history.served),
        "labels": history.labels,
        "crashes": {_name(key): dataclasses.asdict(crash) for key, crash in history.crashes.items()},
        "is_fed": history.is_fed,
        "was_fed": history.was_fed,
    }
    return json.dumps(document)


def from_json(text: str, now: float) -> memory.History:
    """Return the history that an agent begins with which has found ``text``.

    What config the server has is not known. What it was loading may still go on: that is waited for, like a reload whose
    answer nobody gets any more.

    Raises:
        ValueError: Not what :func:`to_json` wrote.
    """
    document = json.loads(text)
    try:
        loading = {_key(name): _loading(found, now) for name, found in document["loading"].items()}
        serving = frozenset(map(_key, document["serving"]))
        orphaned = frozenset(map(str, document["in_flight"])) | {name for name, _ in loading}
        return memory.History(
            orphaned=orphaned,
            in_flight_since=now if orphaned else None,
            loading=loading,
            alive=serving,
            proven={_key(name): str(mark) for name, mark in document["proven"].items()},
            serving=serving,
            served=frozenset(map(_key, document["served"])),
            labels={name: _labels(found) for name, found in document["labels"].items()},
            crashes={_key(name): _crash(found, now) for name, found in document["crashes"].items()},
            began_at=now,
            is_fed=document["is_fed"] is True,
            was_fed=document["was_fed"] is True,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a journal of this kind: {error!r}") from error


def _in_flight(history: memory.History) -> frozenset[str]:
    """Return the models of a reload that the server works on."""
    if history.in_flight_since is None:
        return frozenset()
    return history.orphaned or frozenset(history.pushed or ())


def _loading(found: Mapping[str, Any], now: float) -> memory.Loading:
    return memory.Loading(str(found["mark"]), _past(found["since"], now))


def _labels(found: Mapping[str, Any]) -> dict[str, int]:
    return {label: int(version) for label, version in found.items()}


def _crash(found: Mapping[str, Any], now: float) -> crashes.Crash:
    return crashes.Crash(
        mark=str(found["mark"]),
        at=_past(found["at"], now),
        alone=int(found["alone"]),
        others=int(found["others"]),
        is_hang=found["is_hang"] is True,
    )


def _past(seconds: Any, now: float) -> float:
    """Return a moment of the monotonic clock, which begins anew when the machine is restarted."""
    return min(float(seconds), now)


def _names(keys: Iterable[failures.Key]) -> list[str]:
    return sorted(map(_name, keys))


def _name(key: failures.Key) -> str:
    return f"{key[0]}/{key[1]}"


def _key(name: str) -> failures.Key:
    model, _, version = name.rpartition("/")
    return model, int(version)
