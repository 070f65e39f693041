"""Specs that pass admission and are wrong all the same: the TFModel names the mistake within 10 s, and nothing stops serving."""

from __future__ import annotations

import pytest

from tests import bad_specs

pytestmark = pytest.mark.usefixtures("operator")
SECONDS = 10


def name_of(bad):
    return "".join(character if character.isalnum() else "-" for character in bad.id.lower())


def conditions(body):
    return {condition["type"]: condition for condition in body["status"].get("conditions", [])}


def judged(body):
    return body["status"]["observedGeneration"] == body["metadata"]["generation"]


def verdicts(cluster, namespace):
    return {body["metadata"]["name"]: body for body in cluster.get("-n", namespace, "tfmodels")["items"]}


def assert_named(body, bad):
    found = conditions(body)
    assert found["Ready"]["status"] == "False"
    assert found["Ready"]["reason"] == "RejectedByAPIServer"
    assert bad.says in found["Ready"]["message"]
    assert found["Stalled"]["status"] == "True"
    assert found["ConfigValid"]["status"] == "False"


def test_every_mistake_is_named(cluster, tfmodel, namespace):
    cluster.apply(*(tfmodel(name_of(bad), **bad.spec) for bad in bad_specs.NAMED), tfmodel("good"))
    seen = cluster.wait_for("all verdicts", lambda: verdicts(cluster, namespace), SECONDS, done=lambda seen: all(map(judged, seen.values())))
    for bad in bad_specs.NAMED:
        assert_named(seen[name_of(bad)], bad)
    assert "Stalled" not in conditions(seen["good"])


@pytest.mark.parametrize("bad", bad_specs.NAMED[::4], ids=str)
def test_what_serves_goes_on_and_the_mend_is_taken_up(cluster, tfmodel, namespace, bad):
    def verdict():
        return cluster.get("-n", namespace, "tfmodel", "half")

    def deployment():
        return cluster.get("-n", namespace, "deployment", "half")["spec"]

    cluster.apply(tfmodel())
    cluster.wait_for("the first verdict", verdict, SECONDS, done=judged)
    before = deployment()
    cluster.apply(tfmodel(**bad.spec))
    assert_named(cluster.wait_for("the verdict", verdict, SECONDS, done=judged), bad)
    assert deployment() == before
    cluster.apply(tfmodel())
    assert "Stalled" not in conditions(cluster.wait_for("the mend", verdict, SECONDS, done=judged))
    assert deployment() == before
