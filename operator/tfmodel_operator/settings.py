"""How the operator is set up: command line flags, as the chart writes them."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the operator.

    Args:
        agent_image: Image of the agents in model server pods.
        own_namespace: Where the operator runs; ``""``: outside the cluster.
        namespaces: To work in; none means all.
        workers: TFModels reconciled at the same time.
    """

    agent_image: str
    own_namespace: str
    namespaces: tuple[str, ...]
    workers: int
    host: str
    port: int


def parse(arguments: Sequence[str]) -> Settings:
    """Parse the flags of `python -m tfmodel_operator`; exits with a usage message if they are wrong."""
    parser = argparse.ArgumentParser(prog="tfmodel_operator")
    parser.add_argument("--agent-image", required=True, help="image of the agents; the operator's own")
    parser.add_argument("--own-namespace", default=os.environ.get("POD_NAMESPACE", ""), help="default: $POD_NAMESPACE")
    parser.add_argument("--namespace", action="append", default=[], help="work in this namespace only; may be repeated")
    parser.add_argument("--workers", type=int, default=8, help="TFModels reconciled at the same time (default: %(default)s)")
    parser.add_argument("--host", default="0.0.0.0", help="address for probes (default: %(default)s)")  # noqa: S104 the kubelet asks
    parser.add_argument("--port", type=int, default=8080, help="port for probes (default: %(default)s)")
    given = parser.parse_args(arguments)
    return Settings(given.agent_image, given.own_namespace, tuple(given.namespace), given.workers, given.host, given.port)
