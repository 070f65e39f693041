"""What becomes of the object the API server gives us, also where an older schema let something in."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import bad_specs, schema
from tests.unit.operator.makers import body, planned, tfmodel
from tfmodel_operator.api import images, quantities, rules, server_spec, spec
from tfmodel_serving import model_config


@pytest.mark.parametrize("bad", [bad for bad in bad_specs.REFUSED if bad.in_code], ids=str)
def test_what_the_schema_refuses_is_refused_in_code_too(bad):
    with pytest.raises(spec.InvalidSpec) as refused:
        tfmodel(name=bad.name, **bad.spec)
    assert str(refused.value).startswith(("spec", "metadata.name"))


@pytest.mark.parametrize("bad", bad_specs.NAMED, ids=str)
def test_what_only_the_api_server_can_judge_is_planned(bad):
    planned(name=bad.name, **bad.spec)


def test_what_an_older_schema_left_out_is_asked_for():
    old = body()
    del old["spec"]["server"]["drainSeconds"]
    with pytest.raises(spec.InvalidSpec, match="lacks 'drainSeconds': apply the CRD of this operator's version"):
        spec.parse(old)


@given(st.data())
def test_no_spec_breaks_the_parser(data):
    """Any part of a spec may be anything."""
    made = body(server={"accelerator": {}, "batching": {"maxBatchSize": 3}, "extraArgs": [], "pod": {"labels": {}, "env": []}})
    part: Any = made["spec"]
    while isinstance(part, dict) and part:
        name = data.draw(st.sampled_from(sorted(part)))
        if not isinstance(part[name], dict) or data.draw(st.booleans()):
            part[name] = data.draw(ANYTHING)
            break
        part = part[name]
    with contextlib.suppress(spec.InvalidSpec):
        spec.parse(made)


QUANTITY = (
    schema.schema()["properties"]["spec"]["properties"]["server"]["properties"]["resources"]["properties"]["limits"]
    ["additionalProperties"]["pattern"]
)  # fmt: skip

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_names_are_the_models_unless_given():
    assert tfmodel(name="half").model_name == "half"
    assert tfmodel(name="half", modelName="x").model_name == "x"


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, model_config.Latest(1)),
        ({"versionPolicy": {"latest": {}}}, model_config.Latest(1)),
        ({"versionPolicy": {"latest": {"numVersions": 3}}}, model_config.Latest(3)),
        ({"versionPolicy": {"all": {}}}, model_config.All()),
        ({"versionPolicy": {"specific": {"versions": [4, 3]}}}, model_config.Specific((3, 4))),
    ],
)
def test_version_policy(given, policy):
    assert tfmodel(**given).version_policy == policy


@pytest.mark.parametrize(
    ("server", "image"),
    [
        pytest.param({}, "tensorflow/serving:2.19.1", id="default"),
        pytest.param({"accelerator": {}}, "tensorflow/serving:2.19.1-gpu", id="default with an accelerator"),
        pytest.param({"accelerator": {}, "image": "tensorflow/serving:2.19.1"}, "tensorflow/serving:2.19.1", id="given"),
        pytest.param({"accelerator": {}, "image": f"a@sha256:{'0' * 64}"}, f"a@sha256:{'0' * 64}", id="given by digest"),
    ],
)
def test_the_default_image_follows_the_accelerator_and_a_given_one_does_not(server, image):
    assert tfmodel(server=server).server.image == image


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("tensorflow/serving:2.19.1", (2, 19)),
        ("tensorflow/serving:2.19.1-gpu", (2, 19)),
        ("tensorflow/serving:2.9", (2, 9)),
        ("registry:5000/serving:v2.15-custom", (2, 15)),
        (f"tensorflow/serving:2.19.1@sha256:{'0' * 64}", (2, 19)),
        (f"tensorflow/serving@sha256:{'0' * 64}", None),
        ("tensorflow/serving:latest-gpu", None),
        ("tensorflow/serving:nightly", None),
        ("tensorflow/serving:2", None),
        ("tensorflow/serving", None),
        ("registry:5000/serving", None),
    ],
)
def test_a_tag_tells_the_version_or_does_not(reference, version):
    assert images.version(reference) == version


@pytest.mark.parametrize(
    ("quantity", "cpus"),
    [(None, 0), ("500m", 1), (2, 2), ("2", 2), ("3500m", 4), ("1.5", 2), ("0", 0), ("1e1", 10), ("1k", 1000), ("1Ki", 1024), (".5", 1),
     ("-3", 0), ("1e99", 1024), ("1e-99", 1), (2**63 - 1, 1024)],
)
def test_cpus_are_rounded_up(quantity, cpus):
    assert quantities.whole_cpus(quantity) == cpus


@given(st.from_regex(QUANTITY, fullmatch=True).filter(lambda text: len(text) <= 32))
def test_no_cpu_limit_breaks_the_plan(text):
    """The schema's pattern lets in numbers that no flag and no config file can hold."""
    with contextlib.suppress(spec.InvalidSpec):
        planned(server={"resources": {"limits": {"cpu": text}}, "batching": {"maxBatchSize": 8}})


@given(st.text(max_size=8))
def test_what_is_no_quantity_is_refused(text):
    with contextlib.suppress(ValueError):
        assert quantities.parse(text).is_finite()


def test_flags_allowed_in_code_are_those_the_schema_lists():
    extra_args = schema.schema()["properties"]["spec"]["properties"]["server"]["properties"]["extraArgs"]
    allowed = rules.BOOLEAN_FLAGS | rules.NUMBER_FLAGS | {"mixed_precision"}
    (rule,) = [v["rule"] for v in extra_args["x-kubernetes-validations"] if "not allowed" in v["message"]]
    assert set(rule.partition("^--(")[2].partition(")=")[0].split("|")) == allowed
    assert all(flag in extra_args["description"] for flag in allowed)


def test_defaults_of_the_tests_are_complete():
    """The API server's own defaulting is compared with it in tests/api."""
    bare = {"spec": {"source": {"persistentVolumeClaim": {"claimName": "a"}}}}
    filled = schema.defaulted(copy.deepcopy(bare))
    assert filled["spec"]["warmup"] == {"policy": "IfPresent", "minRecords": 0}
    assert "server" not in filled["spec"], "it would be in the way of joining a shared server"
    bare["spec"]["server"] = {}
    assert schema.defaulted(bare)["spec"]["server"] == server_spec.EMPTY
    assert "accelerator" not in schema.defaulted(bare)["spec"]["server"]
