"""Which versions answer requests, and the handles that keep them loaded meanwhile.

Source: ServingMap in core/basic_manager.cc, util/fast_read_dynamic_ptr.h.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Iterator

from tests.modelserver import status
from tests.modelserver.harness import Harness


@dataclasses.dataclass(frozen=True)
class ServableRequest:
    """Asks for one version of a model, or for the highest that is available."""

    name: str
    version: int | None = None

    def __str__(self) -> str:
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"


class _Generation:
    """One immutable map with a count of the handles given out from it."""

    def __init__(self, ready: Iterable[Harness]) -> None:
        self.by_request: dict[ServableRequest, Harness] = {}
        self.handles = 0
        for harness in sorted(ready, key=lambda harness: harness.id):
            self.by_request[ServableRequest(harness.id.name, harness.id.version)] = harness
            self.by_request[ServableRequest(harness.id.name)] = harness  # the highest is last


class ServingMap:
    """Looks up ready versions without ever waiting for the manager."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._current = _Generation(())

    @contextlib.contextmanager
    def handle(self, request: ServableRequest) -> Iterator[Harness]:
        """Yield the version for ``request``; it stays loaded until the block ends."""
        with self._condition:
            generation = self._current
            harness = generation.by_request.get(request)
            if harness is None:
                raise status.StatusError(status.Code.NOT_FOUND, f"Servable not found for request: {request}")
            generation.handles += 1
        try:
            yield harness
        finally:
            with self._condition:
                generation.handles -= 1
                if generation.handles == 0 and generation is not self._current:
                    self._condition.notify_all()

    def update(self, ready: Iterable[Harness]) -> None:
        """Serve exactly ``ready``; return when no request holds anything of the previous map.

        Any request counts, of whatever model: one stuck request holds up every transition, as the caller has the
        manager's mutex.
        """
        with self._condition:
            previous, self._current = self._current, _Generation(ready)
            self._condition.wait_for(lambda: previous.handles == 0)
