"""What an agent says at `/v1/state`: the truth about one pod's model server, as values and as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

SCHEMA = 1
MAX_BYTES = 1 << 20
MESSAGE_CHARACTERS = 512
"""Messages are cut to this length: they come from model servers and file names, and end in a status object."""
LOAD_FAILED = "failed to load: "
"""How the message of a version begins that the model server failed to load."""
MAX_NAMES = 16
MAX_WARNINGS = 3
NAME_CHARACTERS = 128
INCOMPARABLE = 2.0
"""The relative difference of values that no number can compare; those that one can compare differ by no more."""


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
    labels: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """The model server has tried to load these files, and failed, or died of it."""
        return self.state != "AVAILABLE" and (self.crashes > 0 or self.message.startswith(LOAD_FAILED))


@dataclasses.dataclass(frozen=True, slots=True)
class OutputDifference:
    """How far the answers of two versions differ in one output, over all records that were compared.

    Args:
        name: ``y``, or ``signature/y`` where the signature isn't the default one.
        max_absolute: Largest difference of two values.
        max_relative: Largest difference in a row, as a fraction of the largest value in it (:mod:`tfmodel_serving.comparison`);
            :data:`INCOMPARABLE` for another shape or type, a missing output, NaN, another string or integer.
        argmax_equal: Rows in which both have the largest value at the same place.
        argmax_of: Rows there were; 0 if the output can't be one of scores.
    """

    name: str
    max_absolute: float
    max_relative: float
    argmax_equal: int = 0
    argmax_of: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Of one version, over all records that were compared but the first; one request at a time, from inside the pod."""

    median_seconds: float = 0.0
    p99_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate's answers to recorded requests, held against those of the promoted version in the same pod.

    Args:
        version: The candidate, served under its private name.
        against: The promoted version.
        records: Requests that both have answered.
        outputs: The worst ones first, at most :data:`MAX_NAMES`.
        message: Why there is no verdict, or none to rely on; ``""`` if there is.
        failures: Requests that the promoted version has answered and the candidate hasn't: the first one is in ``message``.
        note: What was left out, and does not count against the candidate.
    """

    version: int
    against: int
    records: int = 0
    outputs: tuple[OutputDifference, ...] = ()
    candidate: Latency = Latency()
    promoted: Latency = Latency()
    message: str = ""
    failures: int = 0
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelState:
    """One model in one pod.

    Args:
        source_message: Why the base path can't be read; ``""`` if it can.
        versions: Newest first.
        available: Clients of it get answers from this pod.
        comparison: Of a candidate's private name, once it was made; of other files than those on the volume it is made anew.
        comparing: What a comparison waits for that is asked for, or how far it has come.
    """

    name: str
    source_message: str = ""
    versions: tuple[VersionState, ...] = ()
    available: bool = False
    comparison: Comparison | None = None
    comparing: str = ""

    def version(self, number: int) -> VersionState | None:
        """Return the state of version ``number``, or None if it isn't told."""
        return next((version for version in self.versions if version.version == number), None)


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


_Value = TypeVar("_Value", VersionState, OutputDifference, Latency, Comparison, ModelState, AgentState)
_SCALARS: dict[str, type] = {"int": int, "str": str, "bool": bool, "float": float}


def clean(message: str, characters: int = MESSAGE_CHARACTERS) -> str:
    """Return ``message`` fit for a status object: one line, no control characters, bounded."""
    printable = message[: 8 * characters]
    if not printable.isprintable():
        printable = "".join(character if character.isprintable() else " " for character in printable)
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
    return _make(AgentState, document, models=tuple(_model(model) for model in _objects(document, "models")))


def _model(document: dict[str, Any]) -> ModelState:
    versions = tuple(_make(VersionState, version) for version in _objects(document, "versions"))
    return _make(ModelState, document, versions=versions, comparison=_comparison(document.get("comparison")))


def _comparison(document: Any) -> Comparison | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise InvalidState("comparison is not an object")
    outputs = tuple(_make(OutputDifference, output) for output in _objects(document, "outputs"))
    sides = {side: _make(Latency, document.get(side) or {}) for side in ("candidate", "promoted")}
    return _make(Comparison, document, outputs=outputs, **sides)


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
        if expected is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            value = float(value)  # JSON has one kind of number
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise InvalidState(f"{kind.__name__}.{field.name} is not of type {field.type}")
        values[field.name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidState(f"{kind.__name__}: {error}") from error
