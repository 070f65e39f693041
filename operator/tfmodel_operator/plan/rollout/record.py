"""The record: what the cluster itself doesn't say. Losing it, or parts of it, costs time and never a request.

JSON, kept beside the config. Whatever can't be read of it is taken as lost, member by member.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tfmodel_serving import model_config, state

SCHEMA = 1
MAX_QUARANTINED = 20
MAX_OUTPUTS = 4
END_OF_TIME = 253402300800.0
"""The year 10000, in Unix seconds."""
_COMPARED_CHARACTERS = {
    "message": state.MESSAGE_CHARACTERS,
    "name": state.NAME_CHARACTERS,
    "candidateMedianMillis": 32,
    "candidateP99Millis": 32,
    "promotedMedianMillis": 32,
    "promotedP99Millis": 32,
    "maxRelativeDifference": 32,
    "maxAbsoluteDifference": 32,
    "sameArgmax": 32,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Good:
    """A config that serves: promoted versions and where their labels are.

    Args:
        immutable: Pods have it from a ConfigMap of its own.
    """

    versions: frozenset[int]
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    immutable: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """The version on its way in.

    Args:
        since: Unix seconds; when its present stage began.
        started: Unix seconds; when its first stage began.
        stopped: Its clock stood still when this was written, and starts anew when it goes on.
        excused: Pods whose model server kept crashing already when this began.
        with_template: Its pods are also the first ones of another template.
    """

    version: int
    since: float
    started: float
    stopped: bool = False
    excused: frozenset[str] = frozenset()
    with_template: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Bake:
    """A promotion that can still be taken back at once.

    Args:
        since: Unix seconds.
        previous: What served before it.
    """

    previous: Good
    since: float
    excused: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Quarantined:
    """A version that failed and isn't tried again until its files change or somebody asks.

    Args:
        cause: The reason of a condition.
        digest: Of the files that failed; ``""``: not known yet.
        retry: What the user's annotation said then.
        held: It is to stay loaded under its private name.
    """

    version: int
    cause: str
    message: str
    digest: str = ""
    retry: str = ""
    held: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """All of it. ``good`` is None while nothing was ever promoted, or when that is forgotten.

    Args:
        compared: What `status.rollout.comparison` says of the last version that was compared, with the worst outputs alone.
    """

    good: Good | None = None
    bake: Bake | None = None
    candidate: Candidate | None = None
    quarantine: tuple[Quarantined, ...] = ()
    compared: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def quarantined(self, version: int) -> Quarantined | None:
        return next((one for one in self.quarantine if one.version == version), None)

    @property
    def is_full(self) -> bool:
        """As many are in quarantine as are remembered, the newest ones: of older ones nobody would know that they failed."""
        return len(self.quarantine) >= MAX_QUARANTINED

    @property
    def held(self) -> frozenset[int]:
        return frozenset(one.version for one in self.quarantine if one.held)


def to_text(record: Record) -> str:
    """Return ``record`` as one line of JSON; equal records give equal text, an empty one gives ``""``."""
    document: dict[str, Any] = {}
    if record.good:
        document["good"] = _good_to(record.good)
    if record.bake:
        document["bake"] = {
            "previous": _good_to(record.bake.previous),
            "since": _time_to(record.bake.since),
            "excused": sorted(record.bake.excused),
        }
    if record.candidate:
        document["candidate"] = {
            **dataclasses.asdict(record.candidate),
            "since": _time_to(record.candidate.since),
            "started": _time_to(record.candidate.started),
            "excused": sorted(record.candidate.excused),
        }
    if record.quarantine:
        document["quarantine"] = [dataclasses.asdict(one) for one in record.quarantine]
    if record.compared:
        document["compared"] = dict(record.compared)
    return json.dumps({"schema": SCHEMA, **document}, sort_keys=True) if document else ""


def shortened(record: Record, entries: int, characters: int) -> Record:
    """Return ``record`` with the newest ``entries`` of its quarantine alone, their messages cut, and without the comparison."""
    kept = (dataclasses.replace(one, message=one.message[:characters].rstrip()) for one in record.quarantine[:entries])
    return dataclasses.replace(record, quarantine=tuple(kept), compared={})


def from_text(text: str) -> Record:
    """Parse what :func:`to_text` wrote; a member that is not as it should be is left out."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Record()
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return Record()
    quarantine = document.get("quarantine")
    entries = [_tolerant(_quarantined, one) for one in quarantine] if isinstance(quarantine, list) else []
    return Record(
        good=_tolerant(_good, document.get("good")),
        bake=_tolerant(_bake, document.get("bake")),
        candidate=_tolerant(_candidate, document.get("candidate")),
        quarantine=bounded(*(one for one in entries if one)),
        compared=_tolerant(_compared, document.get("compared")) or {},
    )


def bounded(*quarantined: Quarantined) -> tuple[Quarantined, ...]:
    """Return one entry per version, the last one given, and the newest versions of too many."""
    by_version = {one.version: one for one in quarantined}
    return tuple(by_version[version] for version in sorted(by_version, reverse=True)[:MAX_QUARANTINED])


_Member = TypeVar("_Member")


def _tolerant(parse: Callable[[Any], _Member], document: Any) -> _Member | None:
    try:
        return parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _good_to(good: Good) -> dict[str, Any]:
    return {"versions": sorted(good.versions), "labels": dict(good.labels), "immutable": good.immutable}


def _good(document: Any) -> Good:
    labels = {_text(label): _version(version) for label, version in document["labels"].items()}
    versions = frozenset(_version(version) for version in document["versions"])
    if not versions:
        raise ValueError("nothing promoted")
    return Good(versions, labels, document["immutable"] is True)


def _bake(document: Any) -> Bake:
    return Bake(_good(document["previous"]), _time(document["since"]), _names(document["excused"]))


def _candidate(document: Any) -> Candidate:
    return Candidate(
        _version(document["version"]),
        _time(document["since"]),
        _time(document["started"]),
        document["stopped"] is True,
        _names(document["excused"]),
        document["with_template"] is True,
    )


def _quarantined(document: Any) -> Quarantined:
    return Quarantined(
        _version(document["version"]),
        _text(document["cause"]),
        state.clean(_text(document["message"])),
        _text(document["digest"]),
        _text(document["retry"]),
        document["held"] is True,
    )


def _compared(document: Any) -> dict[str, Any]:
    """Return it if the schema of `status` would take it: else no status could be written for it."""
    found = {name: _compared_member(name, value) for name, value in document.items() if name != "outputs"}
    outputs = [{name: _compared_member(name, value) for name, value in one.items()} for one in document.get("outputs", [])]
    if not all("name" in output and "maxRelativeDifference" in output for output in outputs):
        raise ValueError("not a comparison")
    return {**found, **({"outputs": outputs[:MAX_OUTPUTS]} if outputs else {})}


def _compared_member(name: str, value: Any) -> int | str:
    if name in {"version", "against"}:
        return _version(value)
    if name in {"pods", "records"}:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise ValueError("not a count")
        return value
    if len(_text(value)) > _COMPARED_CHARACTERS[name]:
        raise ValueError("too long")
    return _text(value)


def _version(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= model_config.MAX_VERSION:
        raise ValueError("not a version")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > state.MESSAGE_CHARACTERS:
        raise ValueError("not a short text")
    return value


def _names(value: Any) -> frozenset[str]:
    return frozenset(_text(name) for name in value)


def _time(value: Any) -> float:
    time = datetime.datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    if not 0 <= time.timestamp() < END_OF_TIME:
        raise ValueError("no time that could be written again")
    return time.timestamp()


def _time_to(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
