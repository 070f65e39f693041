"""Whether an object is already as a manifest wants it."""

from __future__ import annotations

import decimal
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

QUANTITIES = frozenset({"limits", "requests", "sizeLimit"})
"""Fields that hold quantities: the API server stores `1000m` as `1`, and `1024Mi` as `1Gi`."""
ATOMIC = frozenset({"selector", "podSelector", "namespaceSelector", "labelSelector", "nodeSelector"})
"""Maps that are one value: with another entry beside ours a Service selects no pod at all, and a policy guards none."""
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([a-zA-Z]*|[eE][+-]?[0-9]+)")
_SUFFIXES = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "m": -3, "u": -6, "n": -9}
_BINARY_SUFFIXES = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def holds(live: Any, desired: Any, *, quantities: bool = False) -> bool:
    """Tell whether ``live`` has everything that ``desired`` says; what others added to it (defaults, sidecars) does not count.

    Items of lists are matched by their name where all have one, else the lists must agree item by item. Empty is as good as
    absent.

    Args:
        quantities: Both are quantities, or hold some, which are the same if their values are.
    """
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            return live is None and not desired
        return all(
            _is_all(live.get(key), value)
            if key in ATOMIC
            else holds(live.get(key), value, quantities=quantities or key in QUANTITIES)
            for key, value in desired.items()
        )
    if isinstance(desired, list):
        if not isinstance(live, list):
            return live is None and not desired
        return _list_holds(live, desired)
    return bool(live == desired) or (live is None and not desired) or (quantities and quantity(live) == quantity(desired))


def _is_all(live: Any, desired: Any) -> bool:
    """Tell whether ``live`` has what ``desired`` says, and nothing beside it."""
    return holds(live, desired) and holds(desired or {}, live or {})


def _list_holds(live: list[Any], desired: list[Any]) -> bool:
    if desired and all(isinstance(item, Mapping) and "name" in item for item in desired):
        named = {item["name"]: item for item in live if isinstance(item, Mapping) and "name" in item}
        return all(item["name"] in named and holds(named[item["name"]], item) for item in desired)
    return len(live) == len(desired) and all(holds(*pair) for pair in zip(live, desired, strict=True))


def quantity(value: Any) -> Any:
    """Return the value of a Kubernetes quantity as a number, or ``value`` itself if it is none.

    Source: k8s.io/apimachinery, pkg/api/resource/quantity.go.
    """
    found = _QUANTITY.fullmatch(str(value))
    try:
        if found is None:
            return value
        if found[2] in _BINARY_SUFFIXES:
            return decimal.Decimal(found[1]) * 2 ** _BINARY_SUFFIXES[found[2]]
        if found[2] in _SUFFIXES:
            return decimal.Decimal(found[1]).scaleb(_SUFFIXES[found[2]])
        return decimal.Decimal(found[1] + found[2])
    except decimal.InvalidOperation:
        return value


def digest(value: Any) -> str:
    """Return a short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
