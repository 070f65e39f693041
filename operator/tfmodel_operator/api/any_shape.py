"""Reading objects that may be of any shape, as those that an older schema let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def at(body: Any, *path: str) -> Any:
    """Return a member of an object; None: there is none."""
    for name in path:
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def text_at(body: Any, *path: str) -> str:
    """Return the text there; ``""``: there is none."""
    found = at(body, *path)
    return found if isinstance(found, str) else ""
