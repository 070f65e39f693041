"""Rollouts from beginning to end, as text: `--update-golden` writes `tests/golden/rollouts` anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.operator.rollout import scenarios
from tests.unit.operator.rollout.scenarios.play import play

GOLDEN = Path(__file__).parents[3] / "golden" / "rollouts"


@pytest.mark.parametrize("scenario", scenarios.ALL, ids=lambda scenario: scenario.__name__)
def test_trace(scenario, update_golden):
    trace = play(scenario)
    golden = GOLDEN / f"{scenario.__name__}.txt"
    if update_golden:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(trace)
    assert golden.read_text() == trace


def test_every_trace_has_its_scenario():
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == sorted(scenario.__name__ for scenario in scenarios.ALL)
