from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfmodel_serving import model_config
from tfmodel_serving.model_config import All, Latest, Model, Specific

names = st.from_regex(model_config.MODEL_NAME, fullmatch=True)
versions = st.integers(1, model_config.MAX_VERSION)
policies = st.one_of(
    st.builds(Latest, st.integers(1, 100)),
    st.just(All()),
    st.builds(lambda numbers: Specific(tuple(sorted(numbers))), st.sets(versions, min_size=1, max_size=8)),
)
paths = st.text(st.characters(blacklist_categories=("Cs",)), max_size=40).map(lambda text: "/" + text.replace("..", "_"))
models = st.builds(Model, names, paths, policies, st.dictionaries(st.text("abc-._", min_size=1), versions, max_size=3))


@given(st.lists(models, max_size=5, unique_by=lambda model: model.name))
def test_what_is_written_is_what_is_read(given_models):
    assert model_config.from_text(model_config.to_text(given_models)) == tuple(sorted(given_models, key=lambda model: model.name))


@given(st.text(max_size=200))
def test_reading_any_text_gives_models_or_a_reason(text):
    with contextlib.suppress(model_config.InvalidModelConfig):
        for model in model_config.from_text(text):
            assert model_config.MODEL_NAME.fullmatch(model.name.removesuffix("--candidate"))


def test_a_candidate_of_the_longest_name_has_a_name():
    candidate = Model(model_config.candidate_name("a" * 63), "/a", Specific((2,)))
    assert model_config.from_text(model_config.to_text([candidate])) == (candidate,)
    assert model_config.is_candidate_name(candidate.name)
    assert not model_config.is_candidate_name("a" * 63)


def test_zero_latest_versions_are_one_as_the_server_has_it():
    text = 'model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } }'
    assert model_config.from_text(text)[0].version_policy == Latest(1)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param(Model("a/b", "/a"), "name must match", id="a name that breaks REST routes"),
        pytest.param(Model("a\n", "/a"), "name must match", id="a name with a line break"),
        pytest.param(Model("--candidate", "/a"), "name must match", id="a candidate of nothing"),
        pytest.param(Model("a", "a"), "absolute", id="a relative path"),
        pytest.param(Model("a", "/a/../b"), "without '..'", id="a path that climbs"),
        pytest.param(Model("a", "/a", Specific(())), "unloads everything", id="specific without versions"),
        pytest.param(Model("a", "/a", Specific((0,))), "run from 1", id="version 0"),
    ],
)
def test_what_would_hurt_a_server_is_refused(model, says):
    with pytest.raises(model_config.InvalidModelConfig, match=says):
        model_config.to_message([model])


def test_two_models_of_one_name_are_refused():
    with pytest.raises(model_config.InvalidModelConfig, match="listed twice"):
        model_config.to_text([Model("a", "/a"), Model("a", "/b")])


def test_a_model_without_platform_is_refused_because_it_would_poison_the_server():
    with pytest.raises(model_config.InvalidModelConfig, match="model_platform"):
        model_config.from_text('model_config_list { config { name: "a" base_path: "/a" } }')


def test_a_config_that_does_not_fit_into_a_configmap_is_refused_with_its_size():
    many = [Model(f"model-{number}", "/models/" + "x" * 1000) for number in range(1000)]
    with pytest.raises(model_config.ModelConfigTooLarge, match=r"takes 1\d{6} bytes and may take 921600"):
        model_config.to_text(many)
