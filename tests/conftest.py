"""Options and fixtures that all tiers share."""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # how long an example takes says something of the machine only
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing with them")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
