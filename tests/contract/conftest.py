"""The fixtures of the contract tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.server import Server, Start, new_directory, starter, stop_all


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory any user can read: the server may run as another one, or in a container."""
    path = Path(tempfile.mkdtemp(prefix="contract-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def directory(scratch: Path) -> Path:
    """A directory for what must be there before the server is; pass it to ``start``."""
    return new_directory(scratch)


@pytest.fixture
def start(scratch: Path) -> Iterator[Start]:
    """Starts servers for one test; for what wedges them, or needs flags of its own."""
    servers: list[Server] = []
    yield starter(scratch, servers)
    stop_all(servers)


@pytest.fixture(scope="module")
def server(scratch: Path) -> Iterator[Server]:
    """One server for those tests of a module that leave it as they found it; started with nothing to serve."""
    servers: list[Server] = []
    yield starter(scratch, servers)(flags={"allow_version_labels_for_unavailable_models": "true"})
    stop_all(servers)
