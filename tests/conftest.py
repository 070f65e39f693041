"""Options and fixtures that all tiers share."""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says something of the machine only. CI tries the same examples each time; everybody else new ones.
hypothesis.settings.register_profile("untimed", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("untimed")


TIERS = {"cluster": "node", "e2e": "node", "api": "api", "contract": "contract", "agent": "agent", "bench": "bench"}
"""Directories whose tests share something that takes long to start, such as a cluster, and what: one real node at a time is enough."""


class ByTier(LoadScopeScheduling):
    """Of several processes (`-n 2`), one runs all tests of a tier that shares something; other tests go where there is time."""

    def _split_scope(self, nodeid: str) -> str:
        return TIERS.get(nodeid.split("/")[1], nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByTier:
    return ByTier(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing with them")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
