"""A thin client of the API server over dicts: get, list, watch, server-side apply. One connection pool, a rate limit.

The generated clients cost two to three times as much per call and turn everything into objects and back; nothing here needs
more than an HTTP session.
"""

from __future__ import annotations

import dataclasses
import json
import ssl
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import aiohttp
import orjson
import yarl

from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.rate_limit import RateLimit

FIELD_MANAGER = "tfmodel-operator"
APPLY = "application/apply-patch+yaml"
"""JSON is YAML."""
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 250
CONNECT_SECONDS = 10.0
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=CONNECT_SECONDS)
# Compressing costs API server and us more time than the network saves.
HEADERS = {"User-Agent": FIELD_MANAGER, "Accept-Encoding": "identity", "Accept": "application/json"}


class Credentials(Protocol):
    """How to reach the API server and who we are; kopf's ConnectionInfo is one."""

    @property
    def server(self) -> str: ...

    def as_ssl_context(self) -> ssl.SSLContext: ...

    def as_http_headers(self) -> dict[str, str]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A part of a list. ``resource_version`` is the whole list's: as of when it is true."""

    items: list[dict[str, Any]]
    resource_version: str


class ApiClient:
    """Reads and writes objects. ``credentials`` is asked again on 401 and every five minutes: projected tokens rotate.

    Args:
        counted: Called with verb and HTTP status code (0: no answer) of every request.

    Attributes:
        may_write: Asked right before every write.
    """

    REFRESH_SECONDS = 300.0

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        limit: RateLimit,
        counted: Callable[[str, int], None] = lambda verb, code: None,
    ) -> None:
        self._credentials = credentials
        self._limit = limit
        self._counted = counted
        self.may_write: Callable[[], bool] = lambda: True
        self._session: aiohttp.ClientSession | None = None
        self._ssl: ssl.SSLContext | None = None
        self._current: Credentials | None = None
        self._refreshed = 0.0

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def get(self, kind: kinds.Kind, namespace: str, name: str) -> dict[str, Any]:
        """Return an object.

        Raises:
            NotFound: There is none.
            Unavailable: No usable answer.
        """
        return await self._call("GET", "get", kind.path(namespace, name))

    async def list(
        self, kind: kinds.Kind, namespace: str | None, selector: str = "", *, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Yield all objects of a kind, in one namespace or in all, page by page, all as of the same moment.

        Raises:
            ApiError: The API server doesn't answer, doesn't know the kind, or doesn't let us; the message says which.
        """
        params = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        headers = {"Accept": METADATA_ONLY} if metadata_only else {}
        while True:
            found = await self._call("GET", "list", kind.path(namespace), params=params, headers=headers)
            yield Page(found["items"] or [], found["metadata"]["resourceVersion"])
            if not (token := found["metadata"].get("continue")):
                return
            params["continue"] = token

    async def watch(
        self, kind: kinds.Kind, namespace: str | None, selector: str, since: str, *, seconds: int, inactivity_seconds: float
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield (type, object) of every event after ``since``, bookmarks included, until the API server ends the watch.

        Args:
            seconds: After which it is asked to do that.
            inactivity_seconds: Without a byte, after which the connection counts as dead. Bookmarks come every minute.

        Raises:
            Gone: ``since`` is too long ago.
            Silent: The connection counts as dead.
            ApiError: No (further) answer.
        """
        params = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since, "timeoutSeconds": str(seconds)}
        params |= {"labelSelector": selector} if selector else {}
        patience = aiohttp.ClientTimeout(
            total=seconds + CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=inactivity_seconds
        )
        path, rest = kind.path(namespace), b""
        session, url, headers, trusted = self._connected(path, params)
        try:
            async with session.get(url, headers=headers, timeout=patience, ssl=trusted) as response:
                await self._check("watch", response)
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
                    for line in lines:
                        event = _object(line)
                        yield event["type"], event["object"]
        except aiohttp.SocketTimeoutError as error:
            raise errors.Silent(f"watch of {path}: nothing for {inactivity_seconds:.0f} s") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failed("watch", error)
            raise errors.Unavailable(f"watch of {path}: {_words(error)}") from error
        except ValueError as error:
            raise errors.Unavailable(f"watch of {path}: what it tells can't be read: {error}") from error

    async def apply(self, manifest: Mapping[str, Any], *, subresource: str = "", dry_run: bool = False) -> dict[str, Any]:
        """Apply ``manifest`` server-side, taking over the fields in it; return the object as it then is.

        Raises:
            Rejected: The API server refuses the object.
            Unavailable: No usable answer; whether it was applied is not known.
        """
        metadata = manifest["metadata"]
        url = kinds.BY_NAME[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        params = {"fieldManager": FIELD_MANAGER, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        url = f"{url}/{subresource}" if subresource else url
        return await self._call("PATCH", "apply", url, params=params, body=manifest, headers={"Content-Type": APPLY})

    async def merge(self, manifest: Mapping[str, Any], change: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Change the object of the name in ``manifest`` by a merge patch; return it as it then is."""
        metadata = manifest["metadata"]
        url = kinds.BY_NAME[manifest["kind"]].path(metadata["namespace"], metadata["name"])
        params = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return await self._call("PATCH", "patch", url, params=params, body=change, headers={"Content-Type": MERGE})

    async def create(self, kind: kinds.Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; a Conflict if there is one of its name."""
        return await self._call("POST", "create", kind.path(body["metadata"]["namespace"]), body=body)

    async def update(self, kind: kinds.Kind, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object; a Conflict if it has changed since the resource version in ``body``."""
        metadata = body["metadata"]
        return await self._call("PUT", "update", kind.path(metadata["namespace"], metadata["name"]), body=body)

    async def delete(self, kind: kinds.Kind, body: Mapping[str, Any]) -> None:
        """Delete this very object: one of another UID, or a changed one, is a Conflict; none is NotFound."""
        metadata = body["metadata"]
        preconditions = {key: metadata[key] for key in ("uid", "resourceVersion")}
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions, "propagationPolicy": "Background"}
        await self._call("DELETE", "delete", kind.path(metadata["namespace"], metadata["name"]), body=options)

    async def _call(
        self,
        method: str,
        verb: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        await self._limit.wait()
        if method != "GET" and not self.may_write():
            raise errors.Unavailable("nothing is written while it isn't certain that the lease is ours")
        session, url, identity, trusted = self._connected(path, params)
        sent = {"Content-Type": "application/json", **identity, **(headers or {})}
        data = None if body is None else _encoded(body)
        try:
            async with session.request(method, url, data=data, headers=sent, ssl=trusted) as response:
                await self._check(verb, response)
                document = _object(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failed(verb, error)
            raise errors.Unavailable(f"{method} {path}: {_words(error)}") from error
        except ValueError as error:
            raise errors.Unavailable(f"{method} {path}: the answer can't be read: {error}") from error
        return document

    async def _check(self, verb: str, response: aiohttp.ClientResponse) -> None:
        self._counted(verb, response.status)
        if response.status < 300:
            return
        if response.status == 401:
            self._current = None
        if response.status == 429:
            self._limit.pause(_seconds(response.headers.get("Retry-After", "1")))
        raise errors.from_status(response.status, _message(await response.text(errors="replace")))

    def _failed(self, verb: str, error: Exception) -> None:
        self._counted(verb, 0)
        if isinstance(error, aiohttp.ClientSSLError):  # whom we trust, or our certificate, may have been replaced since
            self._current = self._ssl = None

    def _connected(
        self, path: str, params: Mapping[str, str] | None
    ) -> tuple[aiohttp.ClientSession, yarl.URL, dict[str, str], ssl.SSLContext]:
        """Return the session, the whole URL, and the headers that say who we are now, and whom we trust.

        The session outlives every token. Contexts are kept too: connections are only used again under the same one.
        """
        now = time.monotonic()
        if self._current is None or now - self._refreshed > self.REFRESH_SECONDS:
            self._current, self._refreshed = self._credentials(), now
        if self._session is None:
            # No limit: watches hold a connection each, and the rest is as many as there are workers.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=TIMEOUT,
                headers=HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        self._ssl = self._ssl or self._current.as_ssl_context()
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        url = yarl.URL(f"{self._current.server.rstrip('/')}{path}{query}", encoded=True)  # a sixth of a call goes into encoding
        return self._session, url, self._current.as_http_headers(), self._ssl


def _words(error: Exception) -> str:
    """Return what is wrong with a connection, without the address in memory of what it would be encrypted with."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"cannot trust {error.host}:{error.port}: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # half a character, or a number over 64 bits, that a pod has brought in: the API server answers to that
        return json.dumps(body).encode()


def _object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in ``text``; a ValueError if there is another thing, such as a proxy's page."""
    document = orjson.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _message(text: str) -> str:
    """Return the message of a `Status` answer, or the text itself."""
    try:
        document = json.loads(text)
    except ValueError:
        return text[:512]
    return str(document.get("message", text[:512])) if isinstance(document, dict) else text[:512]
