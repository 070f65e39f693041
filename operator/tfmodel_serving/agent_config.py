"""`agent.json`: what the agent must know about each model and the text of a `model_config_list` has no field for."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tfmodel_serving import model_config, warmup

SCHEMA = 1


class InvalidAgentConfig(ValueError):
    """`agent.json` is not what this agent understands."""


class Readiness(enum.StrEnum):
    """What a pod's readiness is about."""

    EVERY_MODEL = "EveryModel"
    """Each model of the config answers: for a server of one TFModel."""
    PER_MODEL = "PerModel"
    """The config is applied: for a shared server, on which each model's readiness is its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Promoted:
    """The version that clients get, by the name it is served under."""

    model: str
    version: int


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of one model.

    Args:
        source: What a person calls the place of the files, for messages: ``PersistentVolumeClaim models, path half``.
        warmup_policy: ``Required``, ``IfPresent`` or ``Ignore`` (:class:`tfmodel_serving.warmup.Policy`).
        min_records: Warmup records wanted where the policy is Required.
        max_batch_size: The server's; 0 if it doesn't batch, or splits large batches.
        digests: Whether the content of the versions in use is hashed, which reads all of it once more.
        watches_newest: The newest version on the volume is hashed, and those above all that the config names.
        watched: Versions that are looked at, hashed and told of as if they were in use.
        compare_with: Of a candidate's entry, which names one `specific` version: what to compare its answers with.
    """

    source: str = ""
    warmup_policy: str = warmup.Policy.IF_PRESENT.value
    min_records: int = 0
    max_batch_size: int = 0
    digests: bool = True
    compare_with: Promoted | None = None
    watched: tuple[int, ...] = ()
    watches_newest: bool = False


def content_hash(models_config: str, agent_json: str) -> str:
    """Return the name of one state of the two mounted files: the operator compares what it published with what agents report."""
    return hashlib.sha256(f"{len(models_config)}:{models_config}{agent_json}".encode()).hexdigest()[:16]


def to_json(models: Mapping[str, ModelSettings], readiness: Readiness = Readiness.EVERY_MODEL) -> str:
    """Return the text of `agent.json`; equal inputs give equal text.

    Defaults are left out: so an operator that knows more settings publishes the same text as before, and disturbs no agent.
    """
    document: dict[str, Any] = {"schema": SCHEMA, "models": {name: _to_dict(settings) for name, settings in models.items()}}
    if readiness is not Readiness.EVERY_MODEL:
        document["readiness"] = readiness.value
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> dict[str, ModelSettings]:
    """Parse `agent.json`. Fields this agent doesn't know are left out: an older agent works with a newer operator's file.

    Raises:
        InvalidAgentConfig: Not JSON, another schema, or a field of another type.
    """
    return {name: _settings(name, fields) for name, fields in _document(text)["models"].items()}


def readiness(text: str) -> Readiness:
    """Return what `agent.json` says of readiness; what this agent doesn't understand is as good as nothing.

    Raises:
        InvalidAgentConfig: As for :func:`from_json`.
    """
    found = _document(text).get("readiness")
    return Readiness(found) if found in list(Readiness) else Readiness.EVERY_MODEL


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidAgentConfig(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or not isinstance(document.get("models"), dict):
        raise InvalidAgentConfig(f"expected an object with schema {SCHEMA} and models")
    return document


def _to_dict(settings: ModelSettings) -> dict[str, Any]:
    default = ModelSettings()
    fields = dataclasses.asdict(settings)
    return {name: value for name, value in fields.items() if name == "source" or value != getattr(default, name)}


def _settings(name: str, fields: Any) -> ModelSettings:
    """Parse one model's settings; a value this agent doesn't understand is as good as none."""
    if not isinstance(fields, dict) or not isinstance(fields.get("source", ""), str):
        raise InvalidAgentConfig(f"model {name!r}: expected an object whose source is a string")
    default = ModelSettings()
    policy = fields.get("warmup_policy")
    return ModelSettings(
        source=fields.get("source", ""),
        warmup_policy=policy if policy in list(warmup.Policy) else default.warmup_policy,
        min_records=_natural(fields.get("min_records"), default.min_records),
        max_batch_size=_natural(fields.get("max_batch_size"), default.max_batch_size),
        digests=fields.get("digests") is not False,
        compare_with=_promoted(fields.get("compare_with")),
        watched=_versions(fields.get("watched")),
        watches_newest=fields.get("watches_newest") is True,
    )


def _versions(value: Any) -> tuple[int, ...]:
    return tuple(version for version in value if _natural(version, 0)) if isinstance(value, list) else ()


def _promoted(fields: Any) -> Promoted | None:
    if not isinstance(fields, dict) or not isinstance(fields.get("model"), str):
        return None
    version = _natural(fields.get("version"), 0)
    return Promoted(fields["model"], version) if 1 <= version <= model_config.MAX_VERSION else None


def _natural(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
