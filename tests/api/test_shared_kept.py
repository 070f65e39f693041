"""What an older schema let in, on a shared server: a model whose spec this operator refuses goes on serving what it did."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.api.conftest import ROOT, Operator, install_crds
from tests.api.played import Played
from tests.api.test_shared import Shared
from tests.cluster import EmbeddedCluster

SECONDS = 20


def loosened(schema):
    """Return a schema without what judges values, as an older one may have been."""
    if isinstance(schema, dict):
        return {key: loosened(value) for key, value in schema.items() if key not in {"x-kubernetes-validations", "minItems", "minimum"}}
    return [loosened(one) for one in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with EmbeddedCluster() as made:
        for path in (ROOT / "crds").glob("*.yaml"):
            older = tmp_path_factory.mktemp("crds") / path.name
            older.write_text(yaml.safe_dump(loosened(yaml.safe_load(path.read_text()))))
            install_crds(made, older)
        yield made


@pytest.fixture
def shared(cluster, namespace):
    """A server on which `bad` and `good` serve, and an operator."""
    with Played(cluster, namespace):
        made = Shared(cluster, namespace)
        made.operator = Operator(cluster, name="operator-kept")
        made.claim("models")
        made.server()
        for name in ("bad", "good"):
            made.model(name, versionLabels={"prod": 1})
        made.ready("bad", "good")
        yield made
        assert made.operator.stop() == 0
        assert "Traceback" not in made.operator.log.read_text()


def change(shared, spec):
    shared.cluster.kubectl("-n", shared.namespace, "patch", "tfmodel/bad", "--type=merge", "-p", json.dumps({"spec": spec}))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"source": {"persistentVolumeClaim": {"path": "../other"}}}, "write it without '..'"),
        ({"versionLabels": None, "versionPolicy": {"specific": {"versions": []}}}, "choose exactly one"),
        ({"versionLabels": None, "versionPolicy": {"specific": {"versions": [0]}}}, "is no version"),
        ({"rollout": {"strategy": "Recreate"}}, "choose InPlace or Auto"),
        ({"server": {}}, "give only one of server and serverRef"),
        ({"serverRef": None, "server": {"extraArgs": ["--port=1"]}}, "is not allowed"),
        ({"serverRef": {"name": "nowhere"}, "warmup": {"minRecords": 3}}, "minRecords counts only"),
    ],
    ids=["path", "no versions", "version 0", "strategy", "two servers", "a server of its own", "another server"],
)
def test_a_model_whose_spec_is_refused_goes_on_serving_and_says_what_is_wrong(shared, broken, says):
    before, config = shared.answering(), shared.config()
    change(shared, broken)
    assert says in shared.says("bad", "InvalidSpec")["message"]
    assert shared.condition("bad", "Available")["status"] == "True"
    shared.model("new")  # the others go on
    shared.ready("new", "good")
    assert _entry(shared.config(), "bad") == _entry(config, "bad")
    assert shared.answering() == {name: {*models, "new"} for name, models in before.items()}
    assert shared.operator.stop() == 0
    shared.operator = Operator(shared.cluster, name="operator-kept")
    shared.delete("tfmodel", "new")
    shared.cluster.wait_for("the label to go", shared.answering, SECONDS, done=lambda seen: seen == before)
    assert shared.config() == config
    assert shared.points_to("bad") == "shared.pool"


def test_one_that_is_mended_goes_on_and_one_that_is_deleted_leaves(shared):
    change(shared, {"source": {"persistentVolumeClaim": {"path": "/bad"}}})
    shared.says("bad", "InvalidSpec")
    change(shared, {"source": {"persistentVolumeClaim": {"path": "bad"}}, "versionLabels": {"prod": None, "live": 1}})
    shared.ready("bad")
    assert 'key: "live"' in _entry(shared.config(), "bad")
    change(shared, {"source": {"persistentVolumeClaim": {"path": "/bad"}}})
    shared.says("bad", "InvalidSpec")
    shared.delete("tfmodel", "bad")
    shared.cluster.wait_for("it to leave", shared.config, SECONDS, done=lambda seen: 'name: "bad"' not in seen)
    shared.ready("good")


def _entry(config, name):
    return next(entry for entry in config.split("  config {") if f'name: "{name}"' in entry)
