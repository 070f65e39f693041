"""A short run of every fuzz target; `make fuzz` has the long one."""

from __future__ import annotations

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz.targets import TARGETS

SECONDS = 1.5


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_damaged_files_end_in_a_reason(target):
    cases = fuzz.fuzz([target], SECONDS, seed=1)
    assert cases[target] > 10
