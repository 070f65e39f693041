from __future__ import annotations

import pytest

from tfmodel_agent import tally
from tfmodel_serving import state
from tfmodel_serving.comparison import Difference


def told(*requests, **changes):
    """The sum of requests that took so many seconds, with no difference but those given."""
    found = tally.Tally()
    for number, seconds in enumerate(requests, start=1):
        found = tally.compared(found, f"record {number}", {"y": Difference()}, seconds)
    for change, reasons in changes.items():
        for reason in reasons:
            found = getattr(tally, change)(found, reason)
    return tally.told(found, 1, 2)


@pytest.mark.parametrize(
    ("requests", "promoted", "candidate"),
    [
        pytest.param([], (0.0, 0.0), (0.0, 0.0), id="none"),
        pytest.param([(9.0, 8.0)], (9.0, 9.0), (8.0, 8.0), id="the only one counts"),
        pytest.param([(9.0, 8.0), (1.0, 2.0)], (1.0, 1.0), (2.0, 2.0), id="the first one of several does not"),
        pytest.param([(9.0, 9.0)] + [(n / 100, n) for n in range(200, 0, -1)], (1.0, 1.98), (100.0, 198.0), id="two hundred"),
        pytest.param([(0, 0), (0.0012344, 0.0012346)], (0.001234, 0.001234), (0.001235, 0.001235), id="to the microsecond"),
    ],
)
def test_latencies(requests, promoted, candidate):
    found = told(*requests)
    assert (found.records, found.promoted, found.candidate) == (len(requests), state.Latency(*promoted), state.Latency(*candidate))


@pytest.mark.parametrize(
    ("changes", "message", "note"),
    [
        pytest.param({}, "", "", id="nothing"),
        pytest.param({"failed": ["a"]}, "a", "", id="one failure"),
        pytest.param({"failed": ["a", "b", "c"]}, "a (and 2 more)", "", id="three failures"),
        pytest.param({"left_out": ["a", "b"]}, "", "left out: a (and 1 more)", id="two that can't be compared"),
        pytest.param({"left_out": ["a"], "failed": ["b"]}, "b", "left out: a", id="one of each"),
    ],
)
def test_what_is_said(changes, message, note):
    found = told((1.0, 1.0), **changes)
    assert (found.message, found.note, found.failures) == (message, note, len(changes.get("failed", [])))


def test_of_very_many_outputs_the_worst_are_told():
    found = tally.compared(tally.Tally(), "record 1", {f"y{n}": Difference(n, n / 100, message="odd" * (n == 3)) for n in range(50)}, (1.0, 1.0))
    result = tally.told(found, 1, 2)
    assert [output.name for output in result.outputs[:3]] == ["y3", "y49", "y48"]
    assert len(result.outputs) == state.MAX_NAMES
    assert (result.message, result.note) == ("output y3: record 1: odd", "of 50 outputs the 16 worst are told")


def test_names_and_messages_are_bounded():
    found = tally.compared(tally.Tally(), "record 1", {"y\n" * 1000: Difference(message="odd" * 1000)}, (1.0, 1.0))
    result = tally.told(found, 1, 2)
    assert len(result.outputs[0].name) == state.NAME_CHARACTERS
    assert len(result.message) == state.MESSAGE_CHARACTERS
    assert "\n" not in result.message + result.outputs[0].name
