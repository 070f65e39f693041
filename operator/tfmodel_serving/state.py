"""What an agent says at `/v1/state`: the truth about one pod's model server, as values and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any, TypeVar

SCHEMA = 1
MAX_BYTES = 1 << 20
MESSAGE_CHARACTERS = 512
"""Messages are cut to this length: they come from model servers and file names, and end in a status object."""
MAX_NAMES = 16
MAX_WARNINGS = 3
NAME_CHARACTERS = 128


class InvalidState(ValueError):
    """An answer that is not an agent's state of this schema."""


@dataclasses.dataclass(frozen=True, slots=True)
class VersionState:
    """One version of one model in one pod.

    Args:
        verdict: ``Verified``, ``Incomplete`` (files still missing or changing), ``Rejected``, or ``Missing`` (wanted, and no
            such directory).
        state: The model server's own word (START LOADING AVAILABLE UNLOADING END), or ``""`` when it doesn't know the version.
        message: Why it is rejected, incomplete, or failed to load; or that it serves other files than are there now.
        reason: Why it can't be served, in one word: one of those that conditions have (:class:`tfmodel_serving.problems.Reason`).
        digest: ``sha256:…`` of its files, or ``""`` while that isn't known, or if it serves other ones.
        signatures: Names, at most :data:`MAX_NAMES`.
        warnings: What is odd about its files, and harmless; at most :data:`MAX_WARNINGS`.
        crashes: How often the model server died while this version alone was loading; ``message`` says what comes next.
    """

    version: int
    verdict: str
    state: str = ""
    wanted: bool = False
    message: str = ""
    reason: str = ""
    digest: str = ""
    size_bytes: int = 0
    signatures: tuple[str, ...] = ()
    warmup_records: int = 0
    warnings: tuple[str, ...] = ()
    crashes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class ModelState:
    """One model in one pod.

    Args:
        source_message: Why the base path can't be read; ``""`` if it can.
        versions: Newest first.
        available: Clients of it get answers from this pod.
    """

    name: str
    source_message: str = ""
    versions: tuple[VersionState, ...] = ()
    available: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class AgentState:
    """Everything one agent reports.

    Args:
        pod_uid: Of the pod the agent runs in: a reused pod address is noticed by it.
        config_hash: Of the mounted files the rest of the state is about.
        config_message: Why the mounted files can't be used; ``""`` if they can.
        server_message: Why the model server can't be talked to; ``""`` if it can.
        suspect: Why the model server must be restarted; ``""`` if it needn't.
        step: The agent's next step and its reason, for people.
        settled: Nothing is left to do: the server serves what the files and the volume allow.
        left_out: What this answer would have said as well, were there fewer models; ``""`` if it is whole.
    """

    pod_uid: str
    config_hash: str
    ready: bool
    settled: bool
    step: str
    config_message: str = ""
    server_message: str = ""
    suspect: str = ""
    left_out: str = ""
    models: tuple[ModelState, ...] = ()

    def model(self, name: str) -> ModelState | None:
        """Return the state of the model called ``name``."""
        return next((model for model in self.models if model.name == name), None)


_Value = TypeVar("_Value", VersionState, ModelState, AgentState)
_SCALARS: dict[str, type] = {"int": int, "str": str, "bool": bool}


def clean(message: str, characters: int = MESSAGE_CHARACTERS) -> str:
    """Return ``message`` fit for a status object: one line, no control characters, bounded."""
    printable = "".join(character if character.isprintable() else " " for character in message[: 8 * characters])
    return " ".join(printable.split())[:characters]


def clean_all(messages: Iterable[str], count: int, characters: int) -> tuple[str, ...]:
    """Return the first ``count`` of ``messages``, each fit for a status object; that there are more is said."""
    every = list(messages)
    kept = tuple(clean(message, characters) for message in every[:count])
    return (*kept, f"and {len(every) - count} more") if len(every) > count else kept


def to_dict(state: AgentState) -> dict[str, Any]:
    """Return ``state`` as JSON-ready values."""
    return {"schema": SCHEMA, **_members(state, is_terse=False)}


def to_json(state: AgentState | ModelState, *, is_terse: bool = False) -> str:
    """Return the JSON text of a state, ASCII only.

    Args:
        is_terse: Leave out members that have their default, which :func:`from_dict` puts back.
    """
    head = {"schema": SCHEMA} if isinstance(state, AgentState) else {}
    return json.dumps({**head, **_members(state, is_terse=is_terse)})


def _members(value: Any, *, is_terse: bool) -> dict[str, Any]:
    fields: dict[str, dataclasses.Field[Any]] = value.__dataclass_fields__  # dataclasses.fields() takes three times as long
    members = ((name, getattr(value, name), field.default) for name, field in fields.items())
    return {name: _plain(one, is_terse=is_terse) for name, one, default in members if not is_terse or one != default}


def _plain(value: Any, *, is_terse: bool) -> Any:
    if isinstance(value, tuple):
        return [_plain(one, is_terse=is_terse) for one in value]
    return _members(value, is_terse=is_terse) if dataclasses.is_dataclass(value) else value


def from_dict(document: Any) -> AgentState:
    """Parse what :func:`to_dict` gave, from an agent of this or a newer minor build (unknown fields are left out).

    Raises:
        InvalidState: Not an agent's state, or of another schema.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InvalidState(f"expected an object of schema {SCHEMA}")
    models = tuple(
        _make(ModelState, model, versions=tuple(_make(VersionState, version) for version in _objects(model, "versions")))
        for model in _objects(document, "models")
    )
    return _make(AgentState, document, models=models)


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = document.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InvalidState(f"{key} is not a list of objects")
    return values


def _strings(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidState(f"{name} is not a list of strings")
    return tuple(value)


def _make(kind: type[_Value], document: Any, **given: Any) -> _Value:
    """Build a ``kind`` from the members of ``document`` that it has, each of the declared type."""
    values = dict(given)
    for field in dataclasses.fields(kind):
        if field.name in given or field.name not in document:
            continue
        value = document[field.name]
        if field.type == "tuple[str, ...]":
            values[field.name] = _strings(value, f"{kind.__name__}.{field.name}")
            continue
        expected = _SCALARS[str(field.type)]
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise InvalidState(f"{kind.__name__}.{field.name} is not of type {field.type}")
        values[field.name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidState(f"{kind.__name__}: {error}") from error
