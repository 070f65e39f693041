"""Keys, certificates and kubeconfigs of a cluster, made with openssl: Python's standard library can't make them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.cache import run

# Whom each client certificate makes its owner, as kubeadm does: (common name, group).
CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "kube-apiserver": ("kube-apiserver-kubelet-client", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kwok": ("kwok", "system:masters"),
}
DAYS = "3650"


@dataclass(frozen=True)
class Certificates:
    """A directory of ``<name>.crt`` and ``<name>.key``, all signed by the ``ca`` in it."""

    directory: Path

    def certificate(self, name: str) -> Path:
        """Return where the certificate is."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return where the private key is."""
        return self.directory / f"{name}.key"

    def create(self, serving: Sequence[str], node: str | None) -> None:
        """Make the authority, the API server's serving certificate, the clients' and the service-account key.

        Args:
            serving: Addresses and DNS names the API server answers at (``IP:…``, ``DNS:…``).
            node: The name of the node whose kubelet gets a client certificate.
        """
        self.directory.mkdir(mode=0o700, parents=True)
        self._openssl("ca", "/CN=tfmodel-test-ca", "-addext", "basicConstraints=critical,CA:TRUE",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
        signed = ("-CA", str(self.certificate("ca")), "-CAkey", str(self.key("ca")))
        self._openssl("serving", "/CN=kube-apiserver", *signed, "-addext", f"subjectAltName={','.join(serving)}",
                      "-addext", "extendedKeyUsage=serverAuth")
        clients = CLIENTS | ({"kubelet": (f"system:node:{node}", "system:nodes")} if node else {})
        for name, (user, group) in clients.items():
            self._openssl(name, f"/O={group}/CN={user}" if group else f"/CN={user}", *signed,
                          "-addext", "extendedKeyUsage=clientAuth")
        self._openssl("service-accounts", "/CN=service-accounts")

    def kubeconfig(self, client: str, server: str, path: Path) -> Path:
        """Write a kubeconfig for one of the clients, with its certificates inside, and return its path."""
        def data(file: Path) -> str:
            return base64.b64encode(file.read_bytes()).decode()

        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "tfmodel",
            "clusters": [{"name": "tfmodel", "cluster": {
                "server": server, "certificate-authority-data": data(self.certificate("ca"))}}],
            "users": [{"name": client, "user": {
                "client-certificate-data": data(self.certificate(client)), "client-key-data": data(self.key(client))}}],
            "contexts": [{"name": "tfmodel", "context": {"cluster": "tfmodel", "user": client}}],
        }, sort_keys=False))
        return path

    def _openssl(self, name: str, subject: str, *arguments: str) -> None:
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256",
             "-days", DAYS, "-subj", subject, "-keyout", str(self.key(name)), "-out", str(self.certificate(name)),
             *arguments])
