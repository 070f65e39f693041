from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmodel_serving import state

version_states = st.builds(
    state.VersionState, st.integers(1, 2**63 - 1), st.text(), message=st.text(), digest=st.text(), wanted=st.booleans(),
    signatures=st.lists(st.text(), max_size=2).map(tuple), warmup_records=st.integers(0, 1000),
    warnings=st.lists(st.text(), max_size=2).map(tuple), crashes=st.integers(0, 9),
)  # fmt: skip
numbers = st.floats(0, allow_nan=False, allow_infinity=False)
comparisons = st.builds(
    state.Comparison, st.integers(1), st.integers(1), st.integers(0, 1000),
    st.lists(st.builds(state.OutputDifference, st.text(), numbers, numbers), max_size=2).map(tuple),
    st.builds(state.Latency, numbers, numbers), message=st.text(), failures=st.integers(0), note=st.text(),
)  # fmt: skip
model_states = st.builds(
    state.ModelState, st.text(), st.text(), st.lists(version_states, max_size=3).map(tuple), available=st.booleans(),
    comparison=st.none() | comparisons, comparing=st.text(),
)
states = st.builds(
    state.AgentState, st.text(), st.text(), st.booleans(), st.booleans(), st.text(), suspect=st.text(), server_message=st.text(),
    models=st.lists(model_states, max_size=3).map(tuple),
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(states)
def test_a_state_survives_the_wire(given_state):
    assert state.from_dict(json.loads(json.dumps(state.to_dict(given_state)))) == given_state


@given(anything)
def test_any_answer_is_a_state_or_invalid(document):
    with pytest.raises(state.InvalidState):
        state.from_dict(document)


@given(states, st.sampled_from(["pod_uid", "ready", "models", "step"]), anything)
def test_a_member_of_another_type_is_invalid_or_equal_in_type(given_state, member, value):
    document = {**state.to_dict(given_state), member: value}
    try:
        found = state.from_dict(document)
    except state.InvalidState:
        return
    assert type(getattr(found, member)) is type(getattr(given_state, member))


def test_a_newer_agent_may_say_more():
    document = state.to_dict(state.AgentState("uid", "hash", ready=True, settled=True, step="")) | {"later": 1}
    assert state.from_dict(json.loads(json.dumps(document))).pod_uid == "uid"


@given(states)
def test_the_published_schema_describes_every_state(given_state):
    document = json.loads(json.dumps(state.to_dict(given_state)))
    schema = json.loads((Path(__file__).parents[3] / "docs/agent-state.schema.json").read_text())
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "ready": "yes"}, schema)


def test_messages_are_one_bounded_line():
    assert state.clean("a\x00b\n\tc\x1b[31m" + "x" * 1000) == ("a b c [31m" + "x" * 1000)[: state.MESSAGE_CHARACTERS]


def test_what_the_files_of_a_model_say_is_bounded():
    assert state.clean_all(["a\n", "b" * 9, "c", "d"], 2, 5) == ("a", "bbbbb", "and 2 more")
    assert state.clean_all(["a"], 2, 5) == ("a",)


def test_a_message_of_any_size_is_cleaned_in_no_time():
    assert len(state.clean("x" * 100_000_000)) == state.MESSAGE_CHARACTERS


@pytest.mark.parametrize("names", ["serving_default", [1], {"a": 1}, None])
def test_signatures_that_are_no_list_of_names_are_invalid(names):
    version = {"version": 1, "verdict": "Verified", "signatures": names}
    document = state.to_dict(state.AgentState("uid", "hash", ready=True, settled=True, step="")) | {
        "models": [{"name": "half", "versions": [version]}]
    }
    with pytest.raises(state.InvalidState, match="signatures"):
        state.from_dict(document)


def test_a_whole_number_is_a_number_and_a_word_is_none():
    output = {"name": "y", "max_absolute": 0, "max_relative": 0.5}
    comparison = {"version": 2, "against": 1, "outputs": [output]}
    model = {"name": "half--candidate", "versions": [], "comparison": comparison}
    document = state.to_dict(state.AgentState("uid", "hash", ready=True, settled=True, step="")) | {"models": [model]}
    found = state.from_dict(document).models[0].comparison
    assert found is not None
    assert found.outputs[0] == state.OutputDifference("y", 0.0, 0.5)
    for nonsense in ("nothing", None, True, 10**400):
        output["max_absolute"] = nonsense
        with pytest.raises(state.InvalidState, match="max_absolute"):
            state.from_dict(document)
