"""docs/conditions.md says of every condition and reason what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tfmodel_operator.api.conditions import Reason, Type

TEXT = (Path(__file__).parents[3] / "docs/conditions.md").read_text()


def rows(heading):
    """The cells of the table under a heading, by the first one, without its backquotes."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `"))
    return {first.strip("`"): rest for first, *rest in cells}


def test_every_condition_is_documented():
    assert list(rows("Conditions")) == [str(kind) for kind in Type]


def test_every_reason_is_documented():
    assert list(rows("Reasons")) == [str(reason) for reason in Reason]


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_documented_as_it_is(reason):
    meaning, ready, fix = rows("Reasons")[reason]
    assert meaning == reason.meaning
    assert ready == reason.severity.value
    assert fix


def test_reasons_are_words_that_kubernetes_accepts():
    assert all(re.fullmatch(r"[A-Z][A-Za-z]{1,62}", reason) for reason in Reason)
