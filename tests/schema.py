"""The CRD's schema, as far as tests need it without an API server: its defaults, its leaves, other values for them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parent.parent / "crds"
CRD = CRDS / "serving.tfmodel.dev_tfmodels.yaml"

Schema = dict[str, Any]


@functools.cache
def schema(kind: str = "TFModel") -> Schema:
    """Return the schema of TFModel or TFModelServer v1alpha1."""
    document = yaml.safe_load((CRDS / f"serving.tfmodel.dev_{kind.lower()}s.yaml").read_text())
    return document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def defaulted(body: dict[str, Any]) -> dict[str, Any]:
    """Return ``body`` as the API server gives it back: with the schema's defaults.

    Source: kubernetes, apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go.
    """
    return _defaulted(copy.deepcopy(body), schema(body.get("kind", "TFModel")))


def _defaulted(value: Any, part: Schema) -> Any:
    if isinstance(value, dict):
        for name, member in part.get("properties", {}).items():
            if name not in value and "default" in member:
                value[name] = copy.deepcopy(member["default"])
            if name in value:
                value[name] = _defaulted(value[name], member)
    if isinstance(value, list) and "items" in part:
        return [_defaulted(item, part["items"]) for item in value]
    return value


def leaves(part: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield path and schema of every field that has no fields of its own; ``[]`` marks the items of a list."""
    if part.get("properties"):
        for name, member in part["properties"].items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif part.get("items", {}).get("properties"):
        yield from leaves(part["items"], f"{path}[]")
    else:
        yield path, part
