"""TFModels that earlier schemas let in stay what they are, and can be changed: no upgrade of the CRD locks anybody out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.api.conftest import Operator, install_crds
from tests.cluster import EmbeddedCluster
from tests.cluster.errors import CommandFailed
from tests.unit.operator.makers import NOW, PLATFORM, Live
from tfmodel_operator.api import spec
from tfmodel_operator.plan import plan

STORED = Path(__file__).resolve().parent.parent / "golden/stored"
EDITIONS = sorted(path.name for path in STORED.iterdir())
REFUSED_BY_CODE = {
    "odd-image": "spec.server.image must be an image reference",
    "odd-quantity": "spec.server.resources.limits.cpu: '1e5000' is not a quantity",
}
"""What a new one couldn't be, and an old one is told to change."""


def models(edition: str) -> list[dict]:
    return list(yaml.safe_load_all((STORED / edition / "tfmodels.yaml").read_text()))


@pytest.fixture(scope="module", params=EDITIONS)
def edition(request):
    return request.param


@pytest.fixture(scope="module")
def cluster(edition):
    """An API server of its own that has them from before, and today's schema."""
    with EmbeddedCluster() as made:
        install_crds(made, STORED / edition / "crd.yaml")
        made.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": models(edition)}))
        made.stored = {body["metadata"]["name"]: body for body in made.get("tfmodels")["items"]}
        install_crds(made)
        made.wait_for("today's schema", lambda: "drainSeconds" in made.get("tfmodel", "minimal")["spec"]["server"])
        yield made


def test_nothing_that_was_said_is_lost(cluster, edition):
    def kept(before, now):
        if isinstance(before, dict):
            assert before.keys() <= now.keys()
            for name, value in before.items():
                kept(value, now[name])
        else:
            assert before == now

    for body in models(edition):
        now = cluster.get("tfmodel", body["metadata"]["name"])
        kept(cluster.stored[body["metadata"]["name"]]["spec"], now["spec"])
        assert now["metadata"]["generation"] == 1


def test_each_can_be_applied_again_and_changed(cluster, edition):
    for body in models(edition):
        name = body["metadata"]["name"]
        cluster.kubectl("apply", "-f", "-", input=json.dumps(body))
        cluster.kubectl("label", "tfmodel", name, "team=a")
        cluster.kubectl("scale", f"tfmodel/{name}", "--replicas=5")
        cluster.kubectl("patch", "tfmodel", name, "--type=merge", "-p", '{"spec": {"server": {"drainSeconds": 30}}}')
        cluster.kubectl("patch", "tfmodel", name, "--subresource=status", "--type=merge", "-p", '{"status": {"observedGeneration": 2}}')
        now = cluster.get("tfmodel", name)
        assert (now["spec"]["server"]["replicas"], now["status"]["observedGeneration"]) == (5, 2)


def test_each_is_planned_or_says_what_to_change(cluster, edition):
    for body in models(edition):
        name = body["metadata"]["name"]
        now = cluster.get("tfmodel", name)
        if name in REFUSED_BY_CODE:
            with pytest.raises(spec.InvalidSpec, match=REFUSED_BY_CODE[name]):
                spec.parse(now)
        else:
            assert plan.make_plan(spec.parse(now), PLATFORM, Live(), NOW).objects


def test_the_operator_names_those_that_must_change(cluster, edition):
    running = Operator(cluster, name="operator-stored")
    try:
        for body in models(edition):
            name = body["metadata"]["name"]

            def verdict(name=name):
                found = cluster.get("tfmodel", name)
                seen = {condition["type"]: condition for condition in found["status"].get("conditions", [])}
                return seen if found["status"]["observedGeneration"] == found["metadata"]["generation"] else None

            config = cluster.wait_for(f"the verdict on {name}", verdict)["ConfigValid"]
            assert (config["status"], config["reason"]) == (("False", "InvalidSpec") if name in REFUSED_BY_CODE else ("True", "AsDesired"))
            assert REFUSED_BY_CODE.get(name, "") in config["message"]
    finally:
        assert running.stop() == 0


def test_what_is_wrong_by_now_can_be_mended_but_not_made_anew(cluster):
    with pytest.raises(CommandFailed, match="must be an image reference"):
        cluster.kubectl("patch", "tfmodel", "odd-image", "--type=merge", "-p", '{"spec": {"server": {"image": "Other Image"}}}')
    cluster.kubectl("patch", "tfmodel", "odd-image", "--type=json", "-p", '[{"op": "remove", "path": "/spec/server/image"}]')
    assert spec.parse(cluster.get("tfmodel", "odd-image")).server.image == "tensorflow/serving:2.19.1"


def test_an_image_that_was_a_default_can_be_taken_away(cluster):
    cluster.kubectl("patch", "tfmodel", "minimal", "--type=merge", "-p", '{"spec": {"server": {"accelerator": {}}}}')
    assert spec.parse(cluster.get("tfmodel", "minimal")).server.image == "tensorflow/serving:2.19.1"
    cluster.kubectl("patch", "tfmodel", "minimal", "--type=json", "-p", '[{"op": "remove", "path": "/spec/server/image"}]')
    assert spec.parse(cluster.get("tfmodel", "minimal")).server.image == "tensorflow/serving:2.19.1-gpu"
