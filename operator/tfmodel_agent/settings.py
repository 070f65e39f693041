"""How one agent is set up: command line flags, as the Deployment's template carries them."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one agent.

    Args:
        config: Directory with the mounted `models.config` and `agent.json`.
        view: Directory for the links the model server polls; writable here, readable there, under the same path.
        server: Address of the model server's gRPC port.
        port: Where the agent listens.
        pod_uid: Told to whoever reads the state; a reused pod address is noticed by it.
        drain_seconds: How long a drain may take.
        drain_token: What a drain must bring along; ``""`` refuses all.
        client_ports: The model server's, where clients connect.
    """

    config: Path
    view: Path
    server: str
    host: str
    port: int
    pod_uid: str
    drain_seconds: float
    drain_token: str
    client_ports: tuple[int, ...]


def parse(arguments: Sequence[str]) -> Settings:
    """Parse the flags of `python -m tfmodel_agent run`; exits with a usage message if they are wrong."""
    parser = argparse.ArgumentParser(prog="tfmodel_agent run")
    parser.add_argument("--config", type=Path, required=True, help="directory with models.config and agent.json")
    parser.add_argument("--view", type=Path, required=True, help="directory for the links the model server polls")
    parser.add_argument("--server", default="127.0.0.1:8500", help="the model server's gRPC address (default: %(default)s)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")  # noqa: S104 probes come from outside
    parser.add_argument("--port", type=int, default=8502, help="port to listen on (default: %(default)s)")
    parser.add_argument("--pod-uid", default=os.environ.get("POD_UID", ""), help="default: $POD_UID")
    parser.add_argument("--drain-seconds", type=float, default=20.0, help="limit of a drain (default: %(default)s)")
    parser.add_argument("--drain-token", default="", help="what GET /drain must send as X-Drain-Token (default: no drain)")
    parser.add_argument(
        "--client-port", type=int, action="append", default=[], dest="client_ports", help="model server port; may be repeated"
    )
    given = vars(parser.parse_args(arguments))
    return Settings(**{**given, "client_ports": tuple(given["client_ports"])})
