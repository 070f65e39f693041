from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.rollout.makers import NOW
from tfmodel_operator.plan.rollout import record
from tfmodel_operator.plan.rollout.record import Bake, Candidate, Good, Quarantined, Record
from tfmodel_serving import state

numbers = st.integers(1, 2**63 - 1)
times = st.integers(0, 4_000_000_000).map(float)
texts = st.text(max_size=40)
goods = st.builds(
    Good, st.frozensets(numbers, min_size=1, max_size=3), st.dictionaries(texts, numbers, max_size=2), st.booleans()
)
names = st.frozensets(texts, max_size=2)
candidates = st.builds(Candidate, numbers, times, times, st.booleans(), names, st.booleans())
quarantined = st.builds(Quarantined, numbers, texts, texts.map(state.clean), texts, texts, st.booleans())
comparisons = st.fixed_dictionaries(
    {"version": numbers, "against": numbers, "pods": st.integers(0, 9), "records": st.integers(0, 9)},
    optional={
        "message": texts, "candidateMedianMillis": st.just("0.123"),
        "outputs": st.lists(st.fixed_dictionaries({"name": texts, "maxRelativeDifference": st.just("1e-05")}), min_size=1, max_size=4),
    },
)  # fmt: skip
records = st.builds(
    Record, st.none() | goods, st.none() | st.builds(Bake, goods, times, names), st.none() | candidates,
    st.lists(quarantined, max_size=3).map(lambda many: record.bounded(*many)), st.just({}) | comparisons,
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FULL = Record(
    Good(frozenset({3}), {"stable": 3}),
    Bake(Good(frozenset({2}), {"stable": 2}, immutable=True), NOW, frozenset({"pod-1"})),
    Candidate(4, NOW, NOW - 60, excused=frozenset({"pod-2"})),
    (Quarantined(5, "ModelLoadFailed", "unsound", "sha256:1", "5 again", held=True),),
    {"version": 5, "against": 3, "message": "", "outputs": [{"name": "y", "maxRelativeDifference": "0.5"}]},
)


@given(records)
def test_a_record_survives_being_kept(kept):
    assert record.from_text(record.to_text(kept)) == kept


@given(st.text() | anything.map(json.dumps))
def test_whatever_is_there_is_a_record_or_none(text):
    assert isinstance(record.from_text(text), Record)


def members(document, path=()):
    if isinstance(document, dict):
        for name, value in document.items():
            yield (*path, name)
            yield from members(value, (*path, name))


@given(st.sampled_from(list(members(json.loads(record.to_text(FULL))))), anything)
def test_a_spoilt_member_costs_itself_at_most(path, value):
    document = json.loads(record.to_text(FULL))
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    found = record.from_text(json.dumps(document))
    if path[0] != "schema":
        others = {"good", "bake", "candidate", "quarantine", "compared"} - {path[0]}
        assert {name: getattr(found, name) for name in others} == {name: getattr(FULL, name) for name in others}


def test_nothing_to_say_is_no_text():
    assert record.to_text(Record()) == ""
    assert record.from_text("") == Record()


@pytest.mark.parametrize("versions", [[], [0], [True], ["3"], [2**63], None])
def test_what_cannot_be_promoted_is_not(versions):
    assert record.from_text(json.dumps({"schema": 1, "good": {"versions": versions, "labels": {}, "immutable": False}})) == Record()


def test_a_quarantine_is_bounded_and_the_last_word_on_a_version_counts():
    many = [Quarantined(version, "LATE", "old") for version in range(1, 40)]
    kept = record.bounded(*many, Quarantined(39, "LATE", "new"))
    assert [one.version for one in kept] == list(range(39, 19, -1))
    assert kept[0].message == "new"
    assert len(record.to_text(Record(quarantine=kept))) < 20_000


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "2027-01-15T08:00:00"])
def test_a_time_that_could_not_be_written_again_is_lost(time):
    document = json.loads(record.to_text(FULL))
    document["candidate"]["started"] = document["bake"]["since"] = time
    found = record.from_text(json.dumps(document))
    assert (found.candidate, found.bake, found.good) == (None, None, FULL.good)
    assert record.from_text(record.to_text(found)) == found


def test_it_can_be_read_by_people():
    assert '"since": "2027-01-15T08:00:00Z"' in record.to_text(FULL)
