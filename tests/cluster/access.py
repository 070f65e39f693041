"""Use of a running cluster: kubectl, helm, waiting. The base class of ``EmbeddedCluster``, without its lifecycle."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.cluster import binaries
from tests.cluster.cache import run
from tests.cluster.errors import CommandFailed, WaitTimeout

T = TypeVar("T")


class Access:
    """What needs nothing but a kubeconfig and a directory for caches."""

    directory: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, with a client certificate inside."""
        return self.directory / "kubeconfig"

    def check(self) -> None:
        """Raise ComponentFailed when a component of the cluster has died."""

    def environment(self) -> dict[str, str]:
        """Return the variables that make kubectl, helm and client libraries use this cluster, and leave ~ alone."""
        helm = {f"HELM_{kind}_HOME": str(self.directory / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.directory / "kubectl-cache"), **helm}

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float | None = 120) -> str:
        """Run kubectl as administrator and return its stdout.

        Args:
            input: For ``-f -``.
            timeout: Seconds.

        Raises:
            CommandFailed: With kubectl's stderr.
        """
        return run([str(binaries.kubernetes_command("kubectl")), *arguments], input=input, timeout=timeout,
                   env=self.environment())

    def get(self, *arguments: str) -> Any:
        """Return ``kubectl get … -o json``, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *manifests: Mapping[str, Any]) -> str:
        """Apply manifests server-side and return what kubectl says."""
        objects = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        return self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(objects))

    def helm(self, *arguments: str, timeout: float | None = 600) -> str:
        """Run helm as administrator and return its stdout; errors as with ``kubectl``."""
        return run([str(binaries.helm()), *arguments], timeout=timeout, env=self.environment())

    def service_account_kubeconfig(self, namespace: str, account: str) -> Path:
        """Write a kubeconfig with a token of a service account, good for a day, and with its namespace; return its path."""
        token = self.kubectl("-n", namespace, "create", "token", account, "--duration=24h").strip()
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace
        path = self.directory / f"{namespace}-{account}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def wait_for(self, description: str, predicate: Callable[[], T], timeout: float = 60, *,
                 done: Callable[[T], object] = bool) -> T:
        """Call ``predicate`` until its value is one we wait for, and return that value.

        A command that fails meanwhile (an object that isn't there yet) counts as not yet.

        Args:
            description: What is waited for, as it reads after "waited … s for".
            timeout: Seconds.
            done: Says whether the value is the one; by default any true value.

        Raises:
            WaitTimeout: It did not come; the message has the last value or error.
            ComponentFailed: A component of the cluster died meanwhile.
        """
        begin, pause, seen = time.monotonic(), 0.05, "nothing"
        while True:
            try:
                value = predicate()
                if done(value):
                    return value
                seen = repr(value)
            except (CommandFailed, OSError) as error:
                seen = str(error)
            self.check()
            if time.monotonic() - begin > timeout:
                raise WaitTimeout(f"waited {timeout:.0f} s for {description}; last seen: {seen[:2000]}")
            time.sleep(pause)
            pause = min(1.0, pause * 1.3)

    def set_extended_resource(self, resource: str, count: int, node: str) -> None:
        """Make a node advertise devices it hasn't got (``nvidia.com/gpu``), as its device plugin would.

        Source: kubernetes.io, "Advertise Extended Resources for a Node".
        """
        status = {"status": {kind: {resource: str(count)} for kind in ("capacity", "allocatable")}}
        self.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", json.dumps(status))
        self.wait_for(f"{node} to advertise {resource}", lambda: self.get("node", node)["status"]["allocatable"],
                      done=lambda seen: seen.get(resource) == str(count))

    def collect(self) -> Path:
        """Write the state of all objects and events into the log directory, for the one who looks into a failure."""
        path = self.directory / "logs" / "objects.txt"
        with contextlib.suppress(CommandFailed):
            kinds = "nodes,pods,deployments,replicasets,services,configmaps,persistentvolumeclaims,events"
            path.write_text(self.kubectl("get", kinds, "-A", "-o", "wide", timeout=30)
                            + self.kubectl("describe", "pods", "-A", timeout=30))
        return path
