"""Whom the client trusts: certificates of an API server are replaced while the operator runs."""

from __future__ import annotations

import dataclasses
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.operator.wire import Nobody, run, serving
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import errors
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.rate_limit import RateLimit


@dataclasses.dataclass(frozen=True)
class Trusting(Nobody):
    server: str
    authority: Path

    def as_ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


def certificate(directory: Path, name: str) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1 that nobody but itself has signed, as ``name``.pem; return what a server needs."""
    file, key = directory / f"{name}.pem", directory / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", *subject]
    subprocess.run([*made, "-out", str(file), "-keyout", str(key)], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key)
    return context


def test_a_new_authority_is_trusted_once_it_is_mounted(tmp_path):
    async def answer(_):
        return web.json_response({"kind": "Pod"})

    async def test():
        nonlocal url
        authority = tmp_path / "ca.pem"
        old, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
        authority.write_bytes((tmp_path / "old.pem").read_bytes())
        client = ApiClient(lambda: Trusting(url, authority), RateLimit(1000, 1000))
        async with serving(answer, tls=old) as url:
            await client.get(kinds.POD, "ml", "half")
        async with serving(answer, port=int(url.rpartition(":")[2]), tls=new):
            with pytest.raises(errors.Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(kinds.POD, "ml", "half")
            authority.write_bytes((tmp_path / "new.pem").read_bytes())
            await client.get(kinds.POD, "ml", "half")
        await client.close()

    url = ""
    run(test)
