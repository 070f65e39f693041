"""The volume with the version directories, as each pod sees it: some later than others."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

from tests.unit.agent import simulation
from tfmodel_serving import saved_model

_contents = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Files:
    """What one version directory holds.

    Args:
        complete: Verification finds nothing missing.
        sound: The model server can load it.
        deadly: The model server dies: `load` while it is loaded, `traffic` once requests without a version get it.
        difference: Largest relative difference of its answers from any other version's.
    """

    content: int
    complete: bool = True
    sound: bool = True
    deadly: str = ""
    difference: float = 0.0
    size: int = 1 << 20
    load_seconds: float = 0.35

    @property
    def good(self) -> bool:
        return self.complete and self.sound and not self.deadly

    @property
    def digest(self) -> str:
        return f"sha256:{self.content:064d}"

    def finding(self, hashed: bool) -> saved_model.Finding:
        if not self.complete:
            return saved_model.Finding(saved_model.Verdict.INCOMPLETE, "variables/variables.index is missing")
        digest = self.digest if hashed else ""
        return saved_model.Finding(saved_model.Verdict.VERIFIED, digest=digest, size_bytes=self.size)


def files(**given: object) -> Files:
    return Files(next(_contents), **given)  # type: ignore[arg-type]


class Volume:
    """All there was, by time: a pod with a slow mount looks at an older one."""

    def __init__(self) -> None:
        self._history: list[tuple[float, Mapping[int, Files]]] = [(0.0, {})]

    @property
    def now(self) -> Mapping[int, Files]:
        return self._history[-1][1]

    def put(self, version: int, what: Files, at: float) -> None:
        self._history.append((at, {**self.now, version: what}))

    def remove(self, version: int, at: float) -> None:
        self._history.append((at, {number: what for number, what in self.now.items() if number != version}))

    def seen(self, at: float) -> Mapping[int, Files]:
        return next(versions for time, versions in reversed(self._history) if time <= at)


class Mount:
    """One pod's view of the volume; what the model server loads from it stays loaded."""

    def __init__(self, volume: Volume, lag: float) -> None:
        self.volume, self.lag = volume, lag

    def at(self, now: float) -> Mapping[int, Files]:
        return self.volume.seen(max(0.0, now - self.lag))


__all__ = ["Files", "Mount", "Volume", "files", "simulation"]
