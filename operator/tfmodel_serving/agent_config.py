"""`agent.json`: what the agent must know about each model and the text of a `model_config_list` has no field for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

SCHEMA = 1


class InvalidAgentConfig(ValueError):
    """`agent.json` is not what this agent understands."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings of one model.

    Args:
        source: What a person calls the place of the files, for messages: ``PersistentVolumeClaim models, path half``.
    """

    source: str = ""


def content_hash(models_config: str, agent_json: str) -> str:
    """Return the name of one state of the two mounted files: the operator compares what it published with what agents report."""
    return hashlib.sha256(f"{len(models_config)}:{models_config}{agent_json}".encode()).hexdigest()[:16]


def to_json(models: Mapping[str, ModelSettings]) -> str:
    """Return the text of `agent.json`; equal inputs give equal text."""
    document = {"schema": SCHEMA, "models": {name: dataclasses.asdict(settings) for name, settings in models.items()}}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> dict[str, ModelSettings]:
    """Parse `agent.json`. Fields this agent doesn't know are left out: an older agent works with a newer operator's file.

    Raises:
        InvalidAgentConfig: Not JSON, another schema, or a field of another type.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InvalidAgentConfig(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or not isinstance(document.get("models"), dict):
        raise InvalidAgentConfig(f"expected an object with schema {SCHEMA} and models")
    return {name: _settings(name, fields) for name, fields in document["models"].items()}


def _settings(name: str, fields: Any) -> ModelSettings:
    if not isinstance(fields, dict) or not isinstance(fields.get("source", ""), str):
        raise InvalidAgentConfig(f"model {name!r}: expected an object whose source is a string")
    return ModelSettings(source=fields.get("source", ""))
