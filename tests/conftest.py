"""Options and fixtures that all tiers share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says something of the machine only. CI tries the same examples each time; everybody else new ones.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("untimed")


TIERS = ("e2e", "api", "contract", "agent", "cluster", "bench")
"""Directories whose tests share something that takes long to start: of several processes (`-n 2`), one runs them all."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(here).parts[0]
        if tier in TIERS:
            item.add_marker(pytest.mark.xdist_group(tier))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing with them")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
