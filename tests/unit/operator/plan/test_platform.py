"""An upgrade of the operator restarts no model server; a change of spec, or the user's word, brings it along."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.makers import NOW, PLATFORM, Live, body, planned
from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import plan, platform

NEWER = dataclasses.replace(PLATFORM, agent_image="registry/tfmodel-operator:9.9.9")


def agent_image(deployment):
    return deployment["spec"]["template"]["spec"]["initContainers"][0]["image"]


def recorded(deployment):
    return json.loads(deployment["metadata"]["annotations"][labels.PLATFORM])


def test_another_agent_image_leaves_the_template_as_it_is():
    before = planned().deployment
    after = planned(NEWER, Live(before)).deployment
    assert after == before


@pytest.mark.parametrize("server", [{"replicas": 5}, {"updateStrategy": "Recreate"}, {"service": {"type": "NodePort"}}, {"networkPolicy": {"policy": "Disabled"}}], ids=str)
def test_so_does_a_change_that_is_not_about_pods(server):
    before = planned().deployment
    after = planned(NEWER, Live(before), server={"image": "tensorflow/serving:2.19.1", **server}).deployment
    assert after["spec"]["template"] == before["spec"]["template"]
    assert recorded(after) == recorded(before)


def test_a_change_of_the_template_takes_the_new_platform_along():
    after = planned(NEWER, Live(planned().deployment), server={"drainSeconds": 30}).deployment
    assert agent_image(after) == NEWER.agent_image
    assert recorded(after) == {"agentImage": NEWER.agent_image, "revision": 1}


def test_the_user_may_ask_for_the_upgrade():
    asking = body()
    asking["metadata"]["annotations"] = {"serving.tfmodel.dev/upgrade": "now"}
    before = planned().deployment
    after = plan.make_plan(spec.parse(asking), NEWER, Live(before), NOW).deployment
    assert agent_image(after) == NEWER.agent_image
    settled = planned(NEWER, Live(after)).deployment  # the annotation is taken away again
    assert settled == after


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param('{"agentImage": "a"}', id="no revision"),
        pytest.param('{"agentImage": "", "revision": 1}', id="no image"),
        pytest.param('{"agentImage": "a", "revision": 99}', id="revision of a newer operator"),
        pytest.param('{"agentImage": "a", "revision": "x"}', id="revision that isn't one"),
        pytest.param('{"agentImage": "a", "revision": 1e999}', id="revision beyond all numbers"),
        pytest.param("[" * 100_000, id="nested too deep"),
    ],
)
def test_a_record_that_cannot_be_used_gives_way_to_the_operators_own(annotation):
    live = copy.deepcopy(planned().deployment)
    live["metadata"]["annotations"].pop(labels.PLATFORM)
    if annotation is not None:
        live["metadata"]["annotations"][labels.PLATFORM] = annotation
    assert agent_image(planned(NEWER, Live(live)).deployment) == NEWER.agent_image


def test_a_revision_that_comes_to_the_same_is_kept():
    live = copy.deepcopy(planned().deployment)
    live["metadata"]["annotations"][labels.PLATFORM] = platform.record(dataclasses.replace(PLATFORM, revision=99))
    assert planned(NEWER, Live(live)).deployment == live


def test_a_record_that_is_not_of_this_template_is_not_believed():
    live = copy.deepcopy(planned().deployment)
    live["metadata"]["annotations"][labels.PLATFORM] = platform.record(platform.Platform("stranger/image:1"))
    assert agent_image(planned(live=Live(live)).deployment) == PLATFORM.agent_image


def test_a_template_somebody_changed_is_restored_and_not_upgraded():
    live = copy.deepcopy(planned().deployment)
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    assert planned(NEWER, Live(live)).deployment == planned().deployment


@given(st.lists(st.sampled_from(["upgrade operator", "scale", "change template"]), max_size=12))
def test_the_agent_image_changes_only_with_the_template(steps):
    current, drain, replicas, build = planned(server={"drainSeconds": 20}).deployment, 20, 1, 0
    platform = PLATFORM
    for step in steps:
        match step:
            case "upgrade operator":
                build += 1
                platform = dataclasses.replace(PLATFORM, agent_image=f"registry/tfmodel-operator:{build}")
            case "scale":
                replicas += 1
            case "change template":
                drain += 1
        following = planned(platform, Live(current), server={"drainSeconds": drain, "replicas": replicas}).deployment
        changed = following["spec"]["template"] != current["spec"]["template"]
        assert changed == (step == "change template")
        assert agent_image(following) == (platform.agent_image if changed else agent_image(current))
        assert planned(platform, Live(following), server={"drainSeconds": drain, "replicas": replicas}).deployment == following
        current = following


def test_the_hash_is_of_the_whole_template():
    first, second = planned().deployment, planned(server={"drainSeconds": 21}).deployment
    hashes = [found["spec"]["template"]["metadata"]["annotations"][labels.TEMPLATE] for found in (first, second)]
    assert len(set(hashes)) == 2
