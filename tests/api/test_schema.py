"""What the API server refuses, and what it says then."""

from __future__ import annotations

import json

import pytest

from tests.cluster.errors import CommandFailed

CLAIM = {"claimName": "models", "path": "half"}


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        pytest.param("half", {"source": {}}, "say where the model is: give source.persistentVolumeClaim", id="no source"),
        pytest.param("half", {"source": {"persistentVolumeClaim": CLAIM, "image": {"reference": "a"}}}, 'unknown field "spec.source.image"', id="two sources"),
        pytest.param("half", {"colour": "red"}, 'unknown field "spec.colour"', id="unknown field"),
        pytest.param("half", {"source": {"persistentVolumeClaim": {"claimName": "m", "path": "a/../b"}}}, "write it without '..'", id="a path with .."),
        pytest.param("half", {"source": {"persistentVolumeClaim": {"claimName": "m", "path": "/a"}}}, "leave out the leading '/'", id="absolute path"),
        pytest.param("half", {"source": {"persistentVolumeClaim": {"claimName": "m", "path": "a\nb"}}}, "path may hold letters", id="a path with a newline"),
        pytest.param("half", {"source": {"persistentVolumeClaim": {"claimName": "Models"}}}, "spec.source.persistentVolumeClaim.claimName", id="bad claim name"),
        pytest.param("1half", {}, "starting with a letter", id="a name that no Service can have"),
        pytest.param("half.model", {}, "lower case letters, digits and '-'", id="a name with a dot"),
        pytest.param("h" * 53, {}, "at most 52", id="a long name"),
        pytest.param("a--b", {}, "'--' marks names of our own", id="a name that becomes a model name of our own kind"),
        pytest.param("half", {"modelName": "a/b"}, "spec.modelName", id="a model name that breaks URLs"),
        pytest.param("half", {"modelName": "a--candidate"}, "must not contain '--'", id="a model name of our own kind"),
        pytest.param("half", {"versionPolicy": {"latest": {}, "all": {}}}, "choose exactly one of latest, all and specific", id="two policies"),
        pytest.param("half", {"versionPolicy": {}}, "choose exactly one of latest, all and specific", id="no policy"),
        pytest.param("half", {"versionPolicy": {"specific": {"versions": []}}}, "spec.versionPolicy.specific.versions", id="no versions"),
        pytest.param("half", {"versionPolicy": {"specific": {"versions": [0]}}}, "greater than or equal to 1", id="version 0"),
        pytest.param("half", {"server": {"replicas": -1}}, "greater than or equal to 0", id="negative replicas"),
        pytest.param("half", {"server": {"resources": {"limits": {"cpu": "much"}}}}, "spec.server.resources.limits.cpu", id="no quantity"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_fix(cluster, tfmodel, name, spec, says):
    with pytest.raises(CommandFailed) as refused:
        cluster.kubectl("apply", "-f", "-", input=json.dumps(tfmodel(name, **spec)))
    assert says in str(refused.value)


def test_model_name_cannot_be_changed_or_given_later(cluster, tfmodel):
    cluster.apply(tfmodel("fixed", modelName="a"), tfmodel("unnamed"))
    for name in ("fixed", "unnamed"):
        with pytest.raises(CommandFailed, match="create another TFModel instead"):
            cluster.apply(tfmodel(name, modelName="b"))


def test_a_policy_can_be_changed_by_client_side_apply(cluster, tfmodel, namespace):
    for policy in ({}, {"versionPolicy": {"specific": {"versions": [3]}}}, {"versionPolicy": {"all": {}}}, {}):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(tfmodel("policy", **policy)))
    assert "versionPolicy" not in cluster.get("-n", namespace, "tfmodel", "policy")["spec"]


def test_a_new_object_is_in_progress_until_the_operator_has_seen_it(cluster, tfmodel):
    created = cluster.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(tfmodel("new")))
    assert json.loads(created)["status"] == {"observedGeneration": -1}


def test_every_field_is_explained(cluster):
    explained = cluster.kubectl("explain", "tfmodel.spec", "--recursive")
    for field in ("claimName", "numVersions", "versions", "replicas", "limits"):
        assert field in explained
    assert "can't be changed" in cluster.kubectl("explain", "tfmodel.spec.modelName")
