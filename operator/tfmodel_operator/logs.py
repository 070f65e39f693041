"""Log lines that say what they are about: the TFModel or TFModelServer of the pass they come from, and its generation."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
from collections.abc import Iterator

from tfmodel_operator.api import labels
from tfmodel_serving import json_logging

_subject: contextvars.ContextVar[dict[str, object] | None] = contextvars.ContextVar("subject", default=None)


@contextlib.contextmanager
def about(namespace: str, server: str, generation: int | None) -> Iterator[None]:
    """Have every log line from inside name this TFModel, or TFModelServer.

    Args:
        server: As in a key.
    """
    field = "tfmodelserver" if labels.is_shared(server) else "tfmodel"
    subject: dict[str, object] = {"namespace": namespace, field: labels.object_name(server)}
    token = _subject.set(subject if generation is None else {**subject, "generation": generation})
    try:
        yield
    finally:
        _subject.reset(token)


class _Subject(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        for field, value in (_subject.get() or {}).items():
            record.__dict__.setdefault(field, value)
        return True


class _Sparse(logging.Filter):
    """Of kopf's attempts to reach an API server that is away, one line each, shows the 1st, the 10th, the 100th and so on.

    Our own watches say once that they can't, and once that they can again.
    """

    ATTEMPT = re.compile(r"Request attempt #(\d+)\S* failed; will retry")

    def filter(self, record: logging.LogRecord) -> bool:
        found = self.ATTEMPT.match(record.getMessage()) if record.name.startswith("kopf") else None
        return found is None or found[1].rstrip("0") == "1"


def configure() -> None:
    """Log as JSON lines; kopf only speaks up when something is wrong."""
    json_logging.configure()
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Sparse())
        handler.addFilter(_Subject())
    logging.getLogger("kopf").setLevel(logging.WARNING)
