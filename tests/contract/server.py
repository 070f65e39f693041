"""A started server, and how to start one."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from tests import savedmodels
from tests.contract.client import Client, Model, config_of
from tests.contract.launch import Constraints, Launcher, Running

# What the agent runs its server with, except for the retries, which most tests want to be over with.
DEFAULTS = {
    "file_system_poll_wait_seconds": "1",
    "num_load_threads": "2",
    "num_unload_threads": "2",
    "max_num_load_retries": "0",
}
START_SECONDS = 60.0


class Server:
    """A started server: its process, its client and a directory of its own."""

    def __init__(self, process: Running, grpc_port: int, rest_port: int, directory: Path) -> None:
        self.process = process
        self.client = Client(grpc_port, rest_port)
        self.grpc_port = grpc_port
        self.rest_port = rest_port
        self.directory = directory

    def wait_until_open(self) -> float:
        """Wait for both ports; return the seconds that took."""
        started = time.monotonic()
        while not (is_open(self.grpc_port) and is_open(self.rest_port)):
            if not self.process.alive or time.monotonic() - started > START_SECONDS:
                pytest.fail(f"the server did not open its ports:\n{self.process.log[-3000:]}")
            time.sleep(0.02)
        return time.monotonic() - started

    def base_path(self, **kinds: str) -> Path:
        """Return a new base path with versions: ``base_path(_1="half_plus_two", _2="half_plus_three")``."""
        return base_path(self.directory, **kinds)

    def model(self, name: str | None = None, **fields: Any) -> Model:
        """Return a model nobody uses yet, with a good version 1."""
        return Model(name or f"m{uuid.uuid4().hex[:6]}", self.base_path(_1="half_plus_two"), **fields)


def base_path(directory: Path, **kinds: str) -> Path:
    """Return a new base path in ``directory``; see :meth:`Server.base_path`."""
    path = directory / f"models-{uuid.uuid4().hex[:8]}"
    path.mkdir()
    for version, kind in kinds.items():
        savedmodels.place(kind, path / version.removeprefix("_"))
    return path


def is_open(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Return ports nobody uses now, below those the kernel gives to clients."""
    ports: list[int] = []
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        end = int(file.read().split()[0])
    start = 20000 + uuid.uuid4().int % (end - 20100)
    for port in range(start, end):
        with socket.socket(socket.AF_INET6) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("::", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError("no free port")


Start = Callable[..., Server]


def starter(scratch: Path, stop: list[Server]) -> Start:
    """Return a function that starts servers and notes them in ``stop``."""
    launcher = Launcher(scratch)

    def start(
        config: str | Sequence[Model] | None = "model_config_list {}",
        *,
        flags: dict[str, str] | None = None,
        raw: Sequence[str] = (),
        constraints: Constraints | None = None,
        ports: tuple[int, int] | None = None,
        wait: bool = True,
        directory: Path | None = None,
    ) -> Server:
        """Start a server.

        Args:
            config: The model config file: its text, or the models in it; None for no such flag.
            flags: Over :data:`DEFAULTS`.
            raw: Further arguments, as they are.
            wait: Until both ports are open.
            directory: Given when base paths must exist before the server does.
        """
        directory = directory or new_directory(scratch)
        grpc_port, rest_port = ports or tuple(free_ports(2))
        values = DEFAULTS | {"port": str(grpc_port), "rest_api_port": str(rest_port)}
        if config is not None:
            file = directory / "models.config"
            file.write_text(config if isinstance(config, str) else text_format.MessageToString(config_of(*config)))
            values["model_config_file"] = str(file)
        arguments = [f"--{name}={value}" for name, value in (values | (flags or {})).items()]
        process = launcher.start([*arguments, *raw], constraints or Constraints())
        server = Server(process, grpc_port, rest_port, directory)
        stop.append(server)
        if wait:
            server.wait_until_open()
        return server

    return start


def new_directory(scratch: Path) -> Path:
    """Return a new directory in ``scratch`` that anybody can read."""
    path = scratch / uuid.uuid4().hex[:8]
    path.mkdir()
    return path


def stop_all(servers: list[Server]) -> None:
    """End all servers."""
    for server in servers:
        server.client.close()
        server.process.kill()
