"""What the operator asked the API server for, from its audit log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.cluster import EmbeddedCluster

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


class Requests:
    """The requests of all operators since this was made, watches and Leases apart."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._log = cluster.audit_log
        self._begin = self._log.stat().st_size

    def __call__(self, which: Callable[[dict[str, Any]], object] = lambda _: True) -> list[dict[str, Any]]:
        """Return those that were answered, in their order."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            lines = log.read().splitlines()
        every = [entry for line in lines if line.endswith(b"}") and (entry := json.loads(line))["stage"] == "ResponseComplete"]
        return [entry for entry in every if _is_operators(entry) and which(entry)]

    def writes(self) -> list[str]:
        """Return the writes as text, such as `patch tfmodels/status half 200`; a dry run says so."""
        return [_text(entry) for entry in self(lambda entry: entry["verb"] in WRITES)]

    def text(self) -> list[str]:
        """Return all requests as such text."""
        return [_text(entry) for entry in self()]


def _is_operators(entry: dict[str, Any]) -> bool:
    agent = entry.get("userAgent", "")
    ours = agent == "tfmodel-operator" or agent.startswith("kopf/")
    about = entry.get("objectRef", {}).get("resource", "")  # none: discovery
    return ours and entry["verb"] != "watch" and about not in {"", "leases"}


def _text(entry: dict[str, Any]) -> str:
    about = entry["objectRef"]
    kind = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    dry = "(dry run) " if "dryRun=All" in entry["requestURI"] else ""
    return f"{entry['verb']} {dry}{kind} {about.get('name', '')} {entry['responseStatus'].get('code')}"
