from __future__ import annotations

import json

import pytest

from tfmodel_serving import agent_config
from tfmodel_serving.agent_config import ModelSettings


def test_settings_survive_the_file():
    given = {"a": ModelSettings("a claim"), "b": ModelSettings("an image", "Required", 3, 32, digests=False)}
    given["a--candidate"] = ModelSettings("a claim", compare_with=agent_config.Promoted("a", 2**63 - 1))
    given["b--candidate"] = ModelSettings("an image", watched=(3, 7), watches_newest=True)
    assert agent_config.from_json(agent_config.to_json(given)) == given


def test_defaults_are_not_written_so_that_a_newer_operator_writes_the_same():
    assert json.loads(agent_config.to_json({"a": ModelSettings("a claim")}))["models"] == {"a": {"source": "a claim"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"warmup_policy": "Sometimes"},
        {"warmup_policy": None},
        {"warmup_policy": ["Required"]},
        {"min_records": -1},
        {"min_records": "3"},
        {"max_batch_size": True},
        {"max_batch_size": 1.5},
        {"digests": "no"},
        {"watched": 3},
        {"watches_newest": 1},
        {"watched": ["3", 0, True]},
        {"compare_with": "a"},
        {"compare_with": {"model": "a"}},
        {"compare_with": {"model": 1, "version": 1}},
        {"compare_with": {"model": "a", "version": 0}},
        {"compare_with": {"model": "a", "version": 2**63}},
        {"something": "new"},
    ],
)
def test_what_this_agent_does_not_understand_is_as_good_as_not_there(fields):
    text = json.dumps({"schema": 1, "models": {"a": {"source": "s"} | fields}})
    assert agent_config.from_json(text) == {"a": ModelSettings("s")}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 2, "models": {}}', '{"schema": 1, "models": {"a": {"source": 1}}}', "[" * 100_000],
    ids=["empty", "a list", "no schema", "another schema", "a source that is a number", "nested too deeply"],
)
def test_another_file_is_invalid(text):
    with pytest.raises(agent_config.InvalidAgentConfig):
        agent_config.from_json(text)


def test_readiness_is_of_every_model_unless_said_otherwise():
    models = {"half": agent_config.ModelSettings()}
    assert agent_config.readiness(agent_config.to_json(models)) is agent_config.Readiness.EVERY_MODEL
    shared = agent_config.to_json(models, agent_config.Readiness.PER_MODEL)
    assert agent_config.readiness(shared) is agent_config.Readiness.PER_MODEL
    assert agent_config.from_json(shared) == models
    assert '"readiness"' not in agent_config.to_json(models), "what every agent does anyway disturbs none by being said"


@pytest.mark.parametrize("value", ['"Whatever"', "1", "null", "[]", "{}"])
def test_a_readiness_of_another_kind_is_as_good_as_none(value):
    text = f'{{"schema": 1, "models": {{}}, "readiness": {value}}}'
    assert agent_config.readiness(text) is agent_config.Readiness.EVERY_MODEL
