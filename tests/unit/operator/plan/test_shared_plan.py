"""Which claims the pods of a shared server have, and what restarts them."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.makers import NOW, PLATFORM, Live, agent, joined_body, joined_model, model_server
from tests.unit.operator.makers import version as number
from tfmodel_operator.api import facts, labels
from tfmodel_operator.api.conditions import Reason
from tfmodel_operator.plan import configmap, held, join, shared
from tfmodel_serving import agent_config, model_config
from tfmodel_serving.state import ModelState


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


@pytest.mark.parametrize("needed", [True, False])
def test_a_claim_that_was_deleted_leaves_the_template(needed):
    """Else no pod could start any more, for any model."""
    models = joined_model("a"), joined_model("b", claim="other")
    both = planned(model_server(), *models)
    assert claims(planned(model_server(), *models[: 1 + needed], live=Live(both.deployment), absent={"other"})) == {"models"}


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


def pod(*claims, name="pool-1", ready=True, tried=None):
    """A pod that has these claims, and what its agent says of the files in the other place."""
    models = () if tried is None else (ModelState(model_config.next_name("a"), **tried),)
    return facts.PodFacts(name, ready=ready, claims=frozenset(claims), agent=agent(models=models))


def serving(model=None, version=1, **given):
    """Return the plan for ``model`` while it serves a version, which is published by its number."""
    model = model or joined_model("a")
    before = planned(model_server(**given), model)
    said = ModelState("a", versions=(number(version),), available=True)
    pods = (facts.PodFacts("pool-1", ready=True, claims=claims(before), agent=agent(models=(said,), config_hash=before.config_hash)),)
    return following(before, model, *pods, server=model_server(**given))


def following(before, model, *pods, absent=(), server=None, uid=None):
    """Return the plan that comes after another one, with what pods say."""
    server, published = server or model_server(), before.objects[0]
    if uid is not None:
        annotations = {**published["metadata"]["annotations"], labels.MEMBERS: join.record({"a": dataclasses.replace(model, uid=uid)})}
        published = {**published, "metadata": {**published["metadata"], "annotations": annotations}}
    live = Live(before.deployment)
    step = shared.step(server, model, published, configmap.read(published), live.deployment, pods, NOW)
    made = shared.make_plan(server, {"a": model}, {"a": step}, published, absent, PLATFORM, live, NOW)
    said.clear()
    said.update({"finding": step.rollout.finding})
    return made


said = {}


def moved(model, *pods, **given):
    """Return the plan for ``model``, which was on claim `models` before and serves nothing yet."""
    return following(planned(model_server(), joined_model("a")), model, *pods, **given)


def source(plan):
    return configmap.published_source(configmap.read(plan.objects[0]), "a")


def tried(plan):
    """Return where files are tried beside those that serve."""
    entries = {entry.name: entry.base_path for entry in configmap.read(plan.objects[0]).entries}
    return entries.get(model_config.next_name("a"))


def test_a_model_keeps_its_files_until_every_pod_has_the_other_claim():
    model = joined_model("a", claim="other")
    waiting = moved(model, pod("models"), pod("models", "other", name="pool-2"))
    assert (source(waiting).claim_name, claims(waiting)) == ("models", {"models", "other"})
    assert source(moved(model, pod("models", "other"), pod("models", "other", name="pool-2"))).claim_name == "other"


def test_a_claim_that_does_not_exist_takes_no_model_from_its_files():
    plan = moved(joined_model("a", claim="typo"), pod("models"), absent={"typo"})
    assert (source(plan).claim_name, claims(plan)) == ("models", {"models"})


def test_another_model_of_the_same_name_inherits_no_files():
    plan = moved(joined_model("a", claim="other"), pod("models"), uid="of one that is gone")
    assert source(plan).claim_name == "other"


@pytest.mark.parametrize(
    ("says", "reason", "words"),
    [
        (None, Reason.ROLLING_OUT, "looking for the files on PersistentVolumeClaim models, path b"),
        ({"source_message": "base path /models/models/b does not exist"}, Reason.SOURCE_UNAVAILABLE, "does not exist"),
        ({}, Reason.NO_VERSION_FOUND, "it holds no version directory"),
        ({"versions": (number(7, "", "Missing"),)}, Reason.NO_VERSION_FOUND, "version 7 is not there"),
        ({"versions": (number(1, "", "Rejected", message="no graph", wanted=False),)}, Reason.VERSION_REJECTED, "no graph"),
        ({"versions": (number(1, "LOADING"),)}, Reason.ROLLING_OUT, "version 1 is LOADING"),
        ({"versions": (number(1, "END", message="failed to load: no"),)}, Reason.MODEL_LOAD_FAILED, "failed to load: no"),
    ],
    ids=["not looked at", "not there", "empty", "another number", "broken files", "loading", "does not load"],
)
def test_another_path_is_taken_up_once_its_files_are_loaded_in_every_pod(says, reason, words):
    """A path that was mistyped must leave what serves something to start again with."""
    before, model = serving(), joined_model("a", path="b")
    good, other = pod("models", tried={"available": True}), pod("models", name="pool-2", tried=says)
    waiting = following(before, model, good, other)
    assert (source(waiting).path, tried(waiting)) == ("a", "/models/models/b")
    assert said["finding"].reason is reason
    assert words in said["finding"].message
    assert "PersistentVolumeClaim models, path a goes on serving" in said["finding"].message
    changed = following(waiting, model, good, pod("models", name="pool-2", tried={"available": True}))
    assert (source(changed).path, tried(changed)) == ("b", None)


def test_pods_that_do_not_serve_have_no_say_in_it_and_without_any_nothing_is_known():
    before, model = serving(), joined_model("a", path="b")
    starting = pod("models", name="pool-2", ready=False)
    assert source(following(before, model, pod("models", tried={"available": True}), starting)).path == "b"
    assert source(following(before, model, starting)).path == "a"
    assert source(following(before, model)).path == "a"


def test_a_path_that_is_put_right_leaves_nothing_behind():
    waiting = following(serving(), joined_model("a", path="typo"), pod("models"))
    back = following(waiting, joined_model("a"), pod("models"))
    assert (source(back).path, tried(back)) == ("a", None)


def test_a_model_that_serves_nothing_yet_gets_the_path_at_once():
    assert source(moved(joined_model("a", path="b"), pod("models"))).path == "b"


def test_while_the_rollout_is_paused_no_files_are_tried():
    plan = following(serving(), joined_model("a", path="b", rollout={"paused": True}), pod("models"))
    assert (source(plan).path, tried(plan), said["finding"].reason) == ("a", None, Reason.PAUSED)


def test_what_is_tried_is_what_spec_asks_for():
    def policy(**given):
        plan = following(serving(), joined_model("a", path="b", **given), pod("models"))
        return {entry.name: entry.version_policy for entry in configmap.read(plan.objects[0]).entries}[model_config.next_name("a")]

    assert policy() == policy(versionPolicy={"all": {}}) == model_config.Latest(1)
    assert policy(versionPolicy={"specific": {"versions": [3]}}) == model_config.Specific((3,))


def test_no_step_is_taken_by_the_new_files_before_they_are_taken_up():
    """The private name is not the candidate's: its versions are of another place."""
    newer = pod("models", tried={"versions": (number(9),), "available": False})
    entries = configmap.read(following(serving(), joined_model("a", path="b"), newer).objects[0]).entries
    assert {entry.name for entry in entries} == {"a", model_config.next_name("a")}


class TestHeld:
    """A model whose spec can't be acted on."""

    BROKEN = ({"warmup": {"policy": "Perhaps", "minRecords": 0}}, {"versionPolicy": {"specific": {"versions": []}}}, {"source": "x"})

    def body(self, **spec):
        made = joined_body("a")
        return {**made, "spec": {**made["spec"], **spec}}

    @pytest.mark.parametrize("broken", BROKEN, ids=str)
    def test_it_keeps_what_is_published_of_it(self, broken):
        before = serving(joined_model("a", warmup={"policy": "Required", "minRecords": 3}, versionLabels={"prod": 1}))
        kept = held.last_good(self.body(**broken), before.objects[0])
        after = following(before, kept, pod("models"))
        assert (after.objects, after.deployment) == (before.objects, before.deployment)

    def test_a_spec_of_no_shape_at_all_is_no_exception(self):
        before = serving()
        kept = held.last_good({**joined_body("a"), "spec": "text"}, before.objects[0])
        assert following(before, kept, pod("models")).objects == before.objects

    def test_a_candidate_on_trial_stays_on_trial(self):
        before = serving()
        newer = ModelState("a", versions=(number(2, ""), number(1)), available=True)
        pods = facts.PodFacts("pool-1", ready=True, claims=frozenset({"models"}), agent=agent(models=(newer,), config_hash=before.config_hash))
        trial = following(before, joined_model("a", rollout={"approval": "Manual"}), pods)
        assert model_config.candidate_name("a") in trial.objects[0]["data"]["models.config"]
        kept = held.last_good(self.body(source="x"), trial.objects[0])
        assert following(trial, kept, pods).objects == trial.objects

    def test_who_is_not_on_the_server_is_not_taken_in(self):
        before = serving()
        assert held.last_good(self.body(source="x"), None) is None
        other = self.body(source="x")
        other["metadata"] = {**other["metadata"], "uid": "another"}
        assert held.last_good(other, before.objects[0]) is None
        assert held.last_good({**joined_body("b"), "spec": {}}, before.objects[0]) is None
