"""A thin client of the API server over dicts: get, server-side apply, status. One connection pool, a rate limit.

The generated clients cost two to three times as much per call and turn everything into objects and back; nothing here needs
more than an HTTP session.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import aiohttp

from tfmodel_operator.api import labels
from tfmodel_operator.cluster import errors

FIELD_MANAGER = "tfmodel-operator"
PLURALS = {
    "ConfigMap": "configmaps",
    "Service": "services",
    "Deployment": "deployments",
    "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Pod": "pods",
    "TFModel": "tfmodels",
}
API_VERSIONS = {
    "ConfigMap": "v1",
    "Service": "v1",
    "Deployment": "apps/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Pod": "v1",
    "TFModel": labels.API_VERSION,
}
PAGE = 500
TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)


class Credentials(Protocol):
    """How to reach the API server and who we are; kopf's ConnectionInfo is one."""

    @property
    def server(self) -> str: ...

    def as_ssl_context(self) -> ssl.SSLContext: ...

    def as_http_headers(self) -> dict[str, str]: ...


class ApiClient:
    """Reads and writes objects. ``credentials`` is asked again on 401 and every five minutes: projected tokens rotate."""

    REFRESH_SECONDS = 300.0

    def __init__(self, credentials: Callable[[], Credentials], *, qps: float = 50.0, burst: int = 100) -> None:
        self._credentials = credentials
        self._limit = _RateLimit(qps, burst)
        self._session: aiohttp.ClientSession | None = None
        self._current: Credentials | None = None
        self._refreshed = 0.0

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def get(self, kind: str, api_version: str, namespace: str, name: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            NotFound: There is none.
            Unavailable: No usable answer.
        """
        return await self._request("GET", path(kind, api_version, namespace, name))

    async def list(self, kind: str, namespace: str | None, selector: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield all objects of a kind, in one namespace or in all, page by page.

        Raises:
            ApiError: The API server doesn't answer, doesn't know the kind, or doesn't let us; the message says which.
        """
        root = f"/apis/{API_VERSIONS[kind]}" if "/" in API_VERSIONS[kind] else f"/api/{API_VERSIONS[kind]}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        params = {"limit": str(PAGE), "labelSelector": selector}
        while True:
            page = await self._request("GET", f"{root}{scope}/{PLURALS[kind]}", params=params)
            for item in page["items"]:
                yield {"apiVersion": API_VERSIONS[kind], "kind": kind, **item}  # items of a list don't carry them
            params["continue"] = page["metadata"].get("continue", "")
            if not params["continue"]:
                return

    async def apply(self, manifest: Mapping[str, Any], *, subresource: str = "") -> dict[str, Any]:
        """Apply ``manifest`` server-side, taking over the fields in it; return the object as it then is.

        Raises:
            Rejected: The API server refuses the object.
            Unavailable: No usable answer; whether it was applied is not known.
        """
        metadata = manifest["metadata"]
        url = path(manifest["kind"], manifest["apiVersion"], metadata["namespace"], metadata["name"])
        return await self._request(
            "PATCH",
            f"{url}/{subresource}" if subresource else url,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=json.dumps(manifest),
            content_type="application/apply-patch+yaml",  # JSON is YAML
        )

    async def _request(
        self, method: str, url: str, *, params: Mapping[str, str] | None = None, body: str | None = None, content_type: str = ""
    ) -> dict[str, Any]:
        await self._limit.wait()
        session, headers = self._connected()
        if content_type:
            headers["Content-Type"] = content_type
        try:
            async with session.request(method, url, params=params, data=body, headers=headers) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise errors.Unavailable(f"{method} {url}: {error or type(error).__name__}") from error
        if response.status == 401:
            self._current = None
        if response.status >= 300:
            raise errors.from_status(response.status, _message(text))
        document = json.loads(text)
        assert isinstance(document, dict)  # noqa: S101 the API server's own answer to a single object
        return document

    def _connected(self) -> tuple[aiohttp.ClientSession, dict[str, str]]:
        """Return the session and the headers that say who we are now; the session outlives every token."""
        now = time.monotonic()
        if self._current is None or now - self._refreshed > self.REFRESH_SECONDS:
            self._current, self._refreshed = self._credentials(), now
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=32, ssl=self._current.as_ssl_context())
            self._session = aiohttp.ClientSession(base_url=self._current.server, connector=connector, timeout=TIMEOUT)
        return self._session, self._current.as_http_headers()


class _RateLimit:
    """A token bucket: ``burst`` calls at once, ``qps`` a second in the long run."""

    def __init__(self, qps: float, burst: int) -> None:
        self._interval = 1.0 / qps
        self._debt_allowed = burst * self._interval
        self._free_at = time.monotonic()

    async def wait(self) -> None:
        now = time.monotonic()
        self._free_at = max(self._free_at + self._interval, now - self._debt_allowed)
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


def path(kind: str, api_version: str, namespace: str, name: str) -> str:
    """Return the URL path of an object."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{root}/namespaces/{namespace}/{PLURALS[kind]}/{name}"


def _message(text: str) -> str:
    """Return the message of a `Status` answer, or the text itself."""
    try:
        document = json.loads(text)
    except ValueError:
        return text[:512]
    return str(document.get("message", text[:512])) if isinstance(document, dict) else text[:512]
