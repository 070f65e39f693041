"""HTTP/1.x on the wire: bytes to requests, responses to bytes. As much of it as clients of the REST API use."""

from __future__ import annotations

import email.utils
import http
import zlib

from tests.modelserver import rest

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_MAX_HEAD_BYTES = 1 << 20


class BadRequest(Exception):
    """The bytes received are no HTTP request."""


def take_request(buffer: bytearray) -> tuple[rest.Request, bool] | None:
    """Take one whole request off the front of ``buffer``.

    Returns:
        The request, and whether the connection stays open after it; None while bytes are missing.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _MAX_HEAD_BYTES:
            raise BadRequest
        return None
    method, target, version, headers = _parse_head(bytes(buffer[:end]))
    start = end + 4
    if "chunked" in headers.get("transfer-encoding", "").lower():
        chunked = _take_chunks(buffer, start)
        if chunked is None:
            return None
        body, start = chunked
    else:
        length = _int(headers.get("content-length", "0"), 10)
        if len(buffer) < start + length:
            return None
        body = bytes(buffer[start : start + length])
        start += length
    del buffer[:start]
    connection = headers.get("connection", "").lower()
    keep_alive = connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"
    return rest.Request(method, target, headers, _unzipped(headers, body)), keep_alive


def waits_for_continue(buffer: bytearray) -> bool:
    """Whether a head is complete and asks for ``100 Continue`` before it sends its body."""
    end = buffer.find(b"\r\n\r\n")
    return end >= 0 and len(buffer) == end + 4 and b"100-continue" in buffer[:end].lower()


def _parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest
        headers[name.strip().lower()] = value.strip()
    target = words[1]
    if target.startswith("http://"):  # absolute form, as sent to proxies
        target = "/" + target[len("http://") :].partition("/")[2]
    return words[0], target, words[2], headers


def _take_chunks(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    body = b""
    while True:
        end = buffer.find(b"\r\n", start)
        if end < 0:
            return None
        size = _int(buffer[start:end].split(b";")[0].decode("latin-1"), 16)
        start = end + 2
        if len(buffer) < start + size + 2:
            return None
        body += buffer[start : start + size]
        start += size + 2
        if size == 0:
            return body, start


def _int(text: str, base: int) -> int:
    try:
        return max(0, int(text, base))
    except ValueError as error:
        raise BadRequest from error


def _unzipped(headers: dict[str, str], body: bytes) -> bytes:
    if "gzip" not in headers.get("content-encoding", ""):
        return body
    try:
        return zlib.decompress(body, wbits=31)
    except zlib.error:
        return b""  # the original drops a body it cannot unpack, and answers as to an empty one


def serialise(response: rest.Response, keep_alive: bool) -> bytes:
    """Return the response as bytes."""
    lines = [f"HTTP/1.1 {response.code} {_reason(response.code)}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    lines += [f"Date: {email.utils.formatdate(usegmt=True)}", f"Content-Length: {len(response.body)}"]
    if not keep_alive:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body


def error_page(code: int) -> rest.Response:
    """Return the HTML page of libevent, for what never reaches the REST API."""
    title = f"{code} {_reason(code)}"
    body = f"<HTML><HEAD>\n<TITLE>{title}</TITLE>\n</HEAD><BODY>\n<H1>{_reason(code)}</H1>\n</BODY></HTML>\n"
    return rest.Response(code, (("Content-Type", "text/html"),), body.encode())


def _reason(code: int) -> str:
    return http.HTTPStatus(code).phrase if code in {status.value for status in http.HTTPStatus} else "Unknown"
