"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float, last: float) -> Iterator[float]:
    """Yield delays in seconds for ever: doubling up to ``last``, each off by up to a quarter, so that nobody falls into step."""
    delay = first
    while True:
        yield delay * random.uniform(0.75, 1.25)  # noqa: S311 nothing secret
        delay = min(last, delay * 2)


class Endless:
    """The same, for those who want to iterate more than once."""

    def __init__(self, first: float, last: float) -> None:
        self._range = first, last

    def __iter__(self) -> Iterator[float]:
        return delays(*self._range)
