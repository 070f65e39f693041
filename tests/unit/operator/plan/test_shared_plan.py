"""Which claims the pods of a shared server have, and what restarts them."""

from __future__ import annotations

import dataclasses

from tests.unit.operator.makers import NOW, PLATFORM, Live, joined_model, model_server
from tfmodel_operator.api import labels
from tfmodel_operator.plan import configmap, join, shared
from tfmodel_serving import agent_config


def planned(server, *models, live=None, absent=()):
    members, live = join.join(server, models, {}, {}).members, live or Live()
    steps = {name: shared.step(server, model, None, None, live.deployment, (), NOW) for name, model in members.items()}
    return shared.make_plan(server, members, steps, None, absent, PLATFORM, live, NOW)


def claims(plan):
    return shared.mounted_claims(plan.deployment)


def test_joining_and_leaving_on_a_mounted_claim_restarts_no_pod():
    alone = planned(model_server(), joined_model("a"))
    both = planned(model_server(), joined_model("a"), joined_model("b"), live=Live(alone.deployment))
    assert both.deployment == alone.deployment
    assert both.config_hash != alone.config_hash


def test_a_claim_that_is_mounted_in_advance_is_there():
    advance = planned(model_server(volumes=[{"claimName": "later"}]), joined_model("a"))
    assert claims(advance) == {"models", "later"}
    joined = planned(model_server(volumes=[{"claimName": "later"}]), joined_model("a"), joined_model("b", claim="later"), live=Live(advance.deployment))
    assert joined.deployment == advance.deployment


def test_a_new_claim_replaces_the_pods():
    alone = planned(model_server(), joined_model("a"))
    both = planned(model_server(), joined_model("a"), joined_model("b", claim="other"), live=Live(alone.deployment))
    assert claims(both) == {"models", "other"}


def test_a_claim_that_is_not_needed_any_more_goes_with_the_next_template():
    both = planned(model_server(), joined_model("a"), joined_model("b", claim="other"))
    left = planned(model_server(), joined_model("a"), live=Live(both.deployment))
    assert left.deployment == both.deployment, "a model that leaves restarts no pod"
    changed = planned(model_server(drainSeconds=30), joined_model("a"), live=Live(both.deployment))
    assert claims(changed) == {"models"}


def test_a_claim_that_does_not_exist_is_not_mounted():
    """Pods that want it could not start."""
    plan = planned(model_server(), joined_model("a"), joined_model("b", claim="typo"), absent={"typo"})
    assert claims(plan) == {"models"}
    assert '"b"' in plan.objects[0]["data"]["models.config"]


def test_readiness_is_each_models_own():
    plan = planned(model_server(), joined_model("a"))
    assert agent_config.readiness(plan.objects[0]["data"]["agent.json"]) is agent_config.Readiness.PER_MODEL


def test_a_server_without_models_has_pods_that_wait_for_some():
    plan = planned(model_server())
    assert "model_config_list" in plan.objects[0]["data"]["models.config"]
    assert claims(plan) == set()


def test_names_of_volumes_are_short_enough_for_any_claim():
    long = joined_model("a", claim="c" * 253)
    volumes = planned(model_server(), long).deployment["spec"]["template"]["spec"]["volumes"]
    assert all(len(volume["name"]) <= 63 for volume in volumes)


def test_a_server_and_a_model_of_one_name_have_nothing_in_common():
    server = dataclasses.replace(model_server(), name="a")
    plan = planned(server, joined_model("a"))
    assert plan.deployment["spec"]["selector"] == {"matchLabels": {"serving.tfmodel.dev/server": "shared.a"}}


def moved(model, *pods, absent=(), uid=None):
    """Return the plan for ``model``, which was on claim `models` before, with pods that have these claims."""
    before = planned(model_server(), joined_model("a"))
    published = before.objects[0]
    if uid is not None:
        members = {"a": dataclasses.replace(joined_model("a"), uid=uid)}
        annotations = {**published["metadata"]["annotations"], labels.MEMBERS: join.record(members)}
        published = {**published, "metadata": {**published["metadata"], "annotations": annotations}}
    bodies = [
        {"metadata": {}, "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": claim}} for claim in pod]}} for pod in pods
    ]
    live = Live(before.deployment, tuple(bodies))
    steps = {"a": shared.step(model_server(), model, published, configmap.read(published), live.deployment, (), NOW)}
    return shared.make_plan(model_server(), {"a": model}, steps, published, absent, PLATFORM, live, NOW)


def source(plan):
    return configmap.published_source(configmap.read(plan.objects[0]), "a").claim_name


def test_a_model_keeps_its_files_until_every_pod_has_the_other_claim():
    model = joined_model("a", claim="other")
    waiting = moved(model, {"models"}, {"models", "other"})
    assert (source(waiting), claims(waiting), waiting.depends_on_pods) == ("models", {"models", "other"}, True)
    assert source(moved(model, {"models", "other"}, {"models", "other"})) == "other"


def test_a_claim_that_does_not_exist_takes_no_model_from_its_files():
    plan = moved(joined_model("a", claim="typo"), {"models"}, absent={"typo"})
    assert (source(plan), claims(plan)) == ("models", {"models"})


def test_another_model_of_the_same_name_inherits_no_files():
    assert source(moved(joined_model("a", claim="other"), {"models"}, uid="of one that is gone")) == "other"
