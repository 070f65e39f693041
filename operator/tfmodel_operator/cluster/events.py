"""Posts Events about TFModels and TFModelServers: best effort, in the background, never in the way of a pass."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Mapping
from typing import Any, NoReturn

from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import compare, errors
from tfmodel_operator.cluster.client import ApiClient

NOTE_BYTES = 1024
"""The API server refuses longer ones, and counts bytes."""
WAITING = 1000
"""More Events than these aren't kept: the conditions say the same."""

log = logging.getLogger(__name__)


class Recorder:
    """Takes Events at once, and posts them one after the other.

    Args:
        reporter: Name of this replica.
    """

    def __init__(self, client: ApiClient, reporter: str) -> None:
        self._client = client
        self._reporter = reporter
        self._waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING)

    def record(self, regarding: Mapping[str, Any], kind: str, reason: str, note: str) -> None:
        """Have an Event about an object posted.

        Args:
            regarding: The object.
            kind: ``Normal`` or ``Warning``.
            reason: CamelCase, as in the condition.
            note: For people.
        """
        if not self._waiting.full():
            self._waiting.put_nowait(event(regarding, kind, reason, note, self._reporter))

    async def run(self) -> NoReturn:
        """Post what is recorded; one that the API server doesn't take is dropped."""
        while True:
            body = await self._waiting.get()
            try:
                await self._client.create(kinds.EVENT, body)
            except errors.Conflict:
                pass  # it was posted before we were restarted
            except errors.ApiError as error:
                log.warning("An Event is lost", extra={"reason": body["reason"], "error": str(error)})


def event(regarding: Mapping[str, Any], kind: str, reason: str, note: str, reporter: str) -> dict[str, Any]:
    """Return an Event; equal news about an object at one generation has one name, so that it is posted once."""
    metadata = regarding["metadata"]
    about = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    identity = compare.digest([metadata["uid"], metadata["resourceVersion"], kind, reason, note])
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": "Event",
        "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{identity}"},
        "eventTime": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{kinds.MODEL.api_version.split('/')[0]}/operator",
        "reportingInstance": reporter[:128],
        "action": "Reconcile",
        "reason": reason,
        "regarding": {"apiVersion": kinds.MODEL.api_version, "kind": regarding["kind"], **about},
        "note": note.encode(errors="replace")[:NOTE_BYTES].decode(errors="ignore"),
        "type": kind,
    }
