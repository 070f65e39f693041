"""What becomes of an object from moment to moment: a look now and then would miss what tests wait for."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.cluster import EmbeddedCluster, binaries


class Watch:
    """Every state of one object, as `kubectl get --watch` tells of them; a wait begins where the last one ended.

    Args:
        collection: Its path in the API.
        show: What to print of a state when a wait was in vain.
    """

    def __init__(self, cluster: EmbeddedCluster, collection: str, name: str, show: Callable[[dict[str, Any]], object]) -> None:
        self.seen: list[dict[str, Any]] = []
        self._cursor, self._show = 0, show
        self._news = threading.Condition()
        url = f"{collection}?watch=1&fieldSelector=metadata.name%3D{name}"
        command = [str(binaries.kubernetes_command("kubectl")), "get", "--raw", url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **cluster.environment()})
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, what: str, condition: Callable[[dict[str, Any]], object], timeout: float = 60.0) -> dict[str, Any]:
        """Return the first state since the last one waited for, itself included, for which ``condition`` holds."""
        until = time.monotonic() + timeout
        looked_at = self._cursor
        with self._news:
            while True:
                for index in range(looked_at, len(self.seen)):
                    if condition(self.seen[index]):
                        self._cursor = index
                        return self.seen[index]
                looked_at = len(self.seen)
                if not self._news.wait(until - time.monotonic()):
                    told = "\n".join(str(self._show(found)) for found in self.seen[self._cursor :])
                    raise AssertionError(f"waited {timeout:.0f} s for {what}; seen since:\n{told}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.seen.append(json.loads(line)["object"])
                self._news.notify_all()
