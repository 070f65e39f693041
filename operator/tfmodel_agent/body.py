"""The state as the text of an answer, never larger than its reader takes: with very many models, it says less of each.

What nobody decides by is left out first, and the text says what is missing. Equal states give equal texts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator

from tfmodel_serving import state
from tfmodel_serving.state import AgentState, ModelState, VersionState

SHORT_CHARACTERS = 80

_Change = Callable[[VersionState], VersionState | None]
"""What is left of a version; None: nothing."""


def encode(current: AgentState, limit: int = state.MAX_BYTES) -> tuple[str, str]:
    """Return ``current`` as JSON of at most ``limit`` bytes, all of them ASCII, and its entity tag."""
    text = next((text for text in _texts(current) if len(text) <= limit), None)
    text = text if text is not None else _first_models(current, limit)
    return text, f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'


def _texts(current: AgentState) -> Iterator[str]:
    """Yield ``current`` in ever fewer words."""
    yield state.to_json(current)
    for change, words in _CHANGES:
        current = _changed(current, change, words)
        yield state.to_json(current)
    yield state.to_json(current, is_terse=True)


def _first_models(current: AgentState, limit: int) -> str:
    """Return what ``limit`` allows of the models, in the order of the config; that there are more, the text says."""
    for change, words in _CHANGES:
        current = _changed(current, change, words)
    count = len(current.models)
    room = limit - len(state.to_json(_with_models(current, 0), is_terse=True)) - len(str(count))
    sizes = itertools.accumulate(len(state.to_json(model, is_terse=True)) + len(", ") for model in current.models)
    return state.to_json(_with_models(current, sum(size <= room for size in sizes)), is_terse=True)


def _with_models(current: AgentState, kept: int) -> AgentState:
    words = f"{current.left_out}; all but {kept} of {len(current.models)} models"
    return dataclasses.replace(current, models=current.models[:kept], left_out=words)


def _changed(current: AgentState, change: _Change, words: str) -> AgentState:
    models = tuple(_changed_model(model, change) for model in current.models)
    return dataclasses.replace(current, models=models, left_out="; ".join(filter(None, (current.left_out, words))))


def _changed_model(model: ModelState, change: _Change) -> ModelState:
    kept = tuple(one for version in model.versions if (one := change(version)) is not None)
    return dataclasses.replace(model, versions=kept)


def _is_in_use(version: VersionState) -> bool:
    return version.wanted or bool(version.state)


def _plain(version: VersionState) -> VersionState:
    return dataclasses.replace(version, signatures=(), warnings=())


_CHANGES: tuple[tuple[_Change, str], ...] = (
    (lambda version: version if _is_in_use(version) else _plain(version), "signatures and warnings of versions not in use"),
    (lambda version: version if _is_in_use(version) else None, "versions not in use"),
    (
        lambda version: dataclasses.replace(_plain(version), message=version.message[:SHORT_CHARACTERS]),
        f"signatures, warnings and what a message has beyond {SHORT_CHARACTERS} characters",
    ),
)
