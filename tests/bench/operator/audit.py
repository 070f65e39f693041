"""The requests of one user, as the API server's audit log has them."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def policy(*users: str) -> Mapping[str, Any]:
    """Return the audit policy that writes down the requests of these users only, each once, when it is answered."""
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": list(users)}, {"level": "None"}]}


@dataclass(frozen=True)
class Request:
    """One request.

    Args:
        kind: The resource, with its subresource: ``tfmodels/status``.
        at: When it came in, in seconds since the epoch.
    """

    verb: str
    kind: str
    dry_run: bool
    code: int
    at: float

    @property
    def writes(self) -> bool:
        """It changes something, or would; renewals of a Lease are counted apart, by ``renews``."""
        return self.verb in WRITES and not self.dry_run and self.kind != "leases"

    @property
    def renews(self) -> bool:
        """It writes a Lease."""
        return self.verb in WRITES and self.kind == "leases"


class AuditLog:
    """All requests in an audit log up to the last ``read``, in ``requests``; a watch counts when it begins."""

    def __init__(self, path: Path) -> None:
        self.requests: list[Request] = []
        self._path, self._offset, self._seen = path, 0, set[str]()

    def read(self) -> int:
        """Take in what has come since; return how many requests there are now. Each line is there before its answer is."""
        if not self._path.exists():
            return 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole = file.read().rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            event = json.loads(line)
            if event["auditID"] not in self._seen:  # a watch has two lines: one at its begin, one at its end
                self._seen.add(event["auditID"])
                self.requests.append(_request(event))
        return len(self.requests)

    def since(self, mark: int) -> list[Request]:
        """Return the requests after the first ``mark``."""
        self.read()
        return self.requests[mark:]


def by_verb(requests: Iterable[Request]) -> dict[str, int]:
    """Return how many requests there are of each verb; dry runs are a verb of their own."""
    return dict(sorted(Counter(_verb(one) for one in requests).items()))


def by_kind(requests: Iterable[Request]) -> dict[str, int]:
    """Return how many requests there are of each verb and resource, most first."""
    return dict(Counter(f"{_verb(one)} {one.kind}" for one in requests).most_common())


def _verb(request: Request) -> str:
    return f"{request.verb} (dry run)" if request.dry_run else request.verb


def _request(event: dict[str, Any]) -> Request:
    place = event.get("objectRef", {})
    kind = "/".join(filter(None, (place.get("resource", event["requestURI"]), place.get("subresource"))))
    at = datetime.datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
    return Request(event["verb"], kind, "dryRun=" in event["requestURI"], event.get("responseStatus", {}).get("code", 0), at)
