"""How the operator is set up: command line flags, as the chart writes them, and what a pod knows of itself."""

from __future__ import annotations

import argparse
import dataclasses
import os
import socket
import uuid
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the operator.

    Args:
        agent_image: Image of the agents in model server pods.
        own_namespace: Where the operator runs; ``""``: outside the cluster.
        namespaces: To work in; none means all.
        lease: Name of the Lease.
        identity: Of this replica; a container that restarts in its pod keeps it, and so its Lease.
        workers: TFModels reconciled at the same time.
        qps: Requests a second to the API server in the long run, watches apart.
        burst: Requests at once.
    """

    agent_image: str
    own_namespace: str
    namespaces: tuple[str, ...]
    lease: str
    identity: str
    workers: int
    qps: float
    burst: int
    host: str
    port: int


def parse(arguments: Sequence[str]) -> Settings:
    """Parse the flags of `python -m tfmodel_operator`; exits with a usage message if they are wrong."""
    parser = argparse.ArgumentParser(prog="tfmodel_operator", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--agent-image", required=True, help="image of the agents; the operator's own")
    parser.add_argument("--own-namespace", default=os.environ.get("POD_NAMESPACE", ""), help="where the operator runs")
    parser.add_argument("--namespace", action="append", default=[], help="work in this namespace only; may be repeated")
    parser.add_argument(
        "--lease", default="tfmodel-operator", help="name of the Lease by which replicas elect the one that works"
    )
    parser.add_argument("--workers", type=_positive, default=16, help="TFModels reconciled at the same time")
    parser.add_argument("--qps", type=_positive, default=200, help="requests a second to the API server, in the long run")
    parser.add_argument("--burst", type=_positive, default=400, help="requests to the API server at once")
    parser.add_argument("--host", default="0.0.0.0", help="address for probes and metrics")  # noqa: S104 the kubelet asks
    parser.add_argument("--port", type=int, default=8080, help="port for probes and metrics")
    given = parser.parse_args(arguments)
    return Settings(
        agent_image=given.agent_image,
        own_namespace=given.own_namespace,
        namespaces=tuple(dict.fromkeys(given.namespace)),
        lease=given.lease,
        identity=_identity(),
        workers=given.workers,
        qps=given.qps,
        burst=given.burst,
        host=given.host,
        port=given.port,
    )


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _identity() -> str:
    """Return a name that no other replica has, at any time."""
    return f"{socket.gethostname()}_{os.environ.get('POD_UID') or uuid.uuid4()}"
