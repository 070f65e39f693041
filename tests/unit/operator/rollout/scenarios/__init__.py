"""What can happen in a rollout, told as stories: the docstring is the heading, the trace what the operator did and why."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.operator.rollout.scenarios import faults, first_versions, gates, new_versions, several, templates
from tests.unit.operator.rollout.scenarios.play import Play

ALL: tuple[Callable[[Play], None], ...] = tuple(
    found
    for theme in (first_versions, new_versions, gates, several, faults, templates)
    for name, found in vars(theme).items()
    if callable(found) and getattr(found, "__module__", "") == theme.__name__ and not name.startswith("_")
)
