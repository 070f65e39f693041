"""What of a change of the state is worth a line in the log: what somebody who is woken at night looks for first."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from tfmodel_serving.state import AgentState, VersionState


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """One line of the log; ``fields`` are its own."""

    level: int
    message: str
    fields: dict[str, Any]


def between(before: AgentState, after: AgentState) -> Iterator[News]:
    """Yield what has changed, the config first."""
    if after.config_message and after.config_message != before.config_message:
        yield News(logging.ERROR, "Mounted config can't be used, the last usable one stays", {"reason": after.config_message})
    if after.ready != before.ready:
        yield News(logging.INFO, "Readiness changed", {"ready": after.ready})
    sources = {model.name: model.source_message for model in before.models}
    known = {(model.name, version.version): version for model in before.models for version in model.versions}
    for model in after.models:
        if model.source_message and model.source_message != sources.get(model.name, ""):
            yield News(logging.WARNING, "Source can't be read", {"model": model.name, "reason": model.source_message})
        for version in model.versions:
            yield from _of_version(model.name, known.get((model.name, version.version)), version)


def _of_version(name: str, before: VersionState | None, after: VersionState) -> Iterator[News]:
    if after.message and (before is None or before.message != after.message):
        level = logging.INFO if after.verdict == "Incomplete" else logging.WARNING  # a copy may go on
        fields = {"model": name, "version": after.version, "verdict": after.verdict, "reason": after.message}
        yield News(level, "Version has a fault", fields)
    elif before is not None and before.message and not after.message:
        yield News(logging.INFO, "Version has no fault any more", {"model": name, "version": after.version})
