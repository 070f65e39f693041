"""Whose version is taken back when the process that several models share keeps ending."""

from __future__ import annotations

from tests.unit.operator.makers import NOW, PLATFORM, Live, agent, joined_model, model_server
from tests.unit.operator.makers import version as number
from tfmodel_operator.api import facts
from tfmodel_operator.observe import shared as observed
from tfmodel_operator.plan import configmap, shared
from tfmodel_serving.state import ModelState

BAKES = {"rollout": {"bakeSeconds": 600}}


class Server:
    """A shared server whose pod has what is published, one step of its models after the other."""

    def __init__(self, **models):
        self.members = {name: joined_model(name, **given) for name, given in models.items()}
        self.volume = {name: {1} for name in models}
        self.config, self.deployment = None, None
        self.crash = {"crash": "", "crashed_at": None, "restarts": 0}
        self.blamed = {}
        self.bring_about()

    def published(self, name):
        return configmap.published(configmap.read(self.config), name).config

    def pods(self):
        content = configmap.read(self.config)
        if content is None:
            return dict.fromkeys(self.members, ())
        told = []
        for name, on_volume in self.volume.items():
            policy = self.published(name).served
            named = set(getattr(policy, "versions", ())) or {max(on_volume)}
            states = [
                number(one, "AVAILABLE" if one in named else "", wanted=one in named, crashes=self.blamed.get((name, one), 0))
                for one in sorted(on_volume, reverse=True)
            ]
            told.append(ModelState(name, versions=tuple(states), available=True))
        said = agent(models=tuple(told), config_hash=content.hash)
        pod = facts.PodFacts("pool-1", ready=not self.crash["crash"], claims=frozenset({"models"}), agent=said, **self.crash)
        return observed.by_model([pod], self.members, content.hash, lambda config_hash, name: config_hash == content.hash)

    def bring_about(self):
        """Publish one step of each model after the other, until none is left."""
        for _ in range(20):
            said, content, before = self.pods(), configmap.read(self.config), self.config
            steps = {
                name: shared.step(model_server(), model, before, content, self.deployment, said[name], NOW)
                for name, model in self.members.items()
            }
            plan = shared.make_plan(model_server(), self.members, steps, before, (), PLATFORM, Live(self.deployment), NOW)
            self.config, self.deployment = plan.objects[0], plan.deployment
            if before == self.config:
                return
        raise AssertionError("it never comes to rest")

    def ends(self, times=3):
        """Have the server crash until the kubelet holds it back."""
        self.crash = {"crash": "it has been restarted", "crashed_at": NOW.timestamp() + 1, "restarts": self.crash["restarts"] + times}
        self.bring_about()

    def drop(self, version, *names):
        for name in names:
            self.volume[name].add(version)
        self.bring_about()


def test_versions_go_their_way_one_model_beside_the_other():
    server = Server(a={}, b={}, c={})
    server.drop(2, "a", "b")
    assert [server.published(name).versions for name in "abc"] == [{2}, {2}, {1}]


def test_a_promotion_that_bakes_is_taken_back_and_one_that_is_done_is_not():
    server = Server(bakes=BAKES, done={}, rests={})
    server.drop(2, "bakes", "done")
    assert server.published("bakes").versions == {1, 2}, "the one before is still there"
    server.ends()
    assert [server.published(name).versions for name in ("bakes", "done", "rests")] == [{1}, {2}, {1}]
    assert '"CrashLoopBackOff"' in configmap.record_of(server.config, "bakes")
    assert configmap.record_of(server.config, "done").find("CrashLoopBackOff") == -1


def test_the_server_died_of_what_was_loading_and_no_promotion_is_to_blame():
    """First with others, then alone: two deaths, of which the agents know the cause."""
    server = Server(bakes=BAKES, bad={})
    server.drop(2, "bakes")
    server.blamed = {("bad", 1): 1}
    server.ends(times=2)
    assert server.published("bakes").versions == {1, 2}
    server.ends(times=2)
    assert server.published("bakes").versions == {1}, "it goes on though that one isn't loaded any more"


def test_who_is_on_the_way_in_is_judged_by_the_agents_alone():
    server = Server(a={}, b={})
    server.members["a"] = joined_model("a", rollout={"approval": "Manual"})
    server.drop(2, "a")
    assert server.published("a").on_trial == {2}
    server.ends()
    assert server.published("a").on_trial == {2}


def test_a_server_that_ended_before_is_no_fault_of_what_came_then():
    server = Server(bakes=BAKES)
    server.crash = {"crash": "", "crashed_at": NOW.timestamp() - 60, "restarts": 1}
    server.drop(2, "bakes")
    server.ends()
    assert server.published("bakes").versions == {1, 2}, "that pod is not stable"


def test_silence_is_no_verdict():
    pod = facts.PodFacts("pool-1", agent=None, crash="again and again", crashed_at=NOW.timestamp(), restarts=9)
    (seen,) = observed.by_model([pod], {"a": joined_model("a")}, "hash", lambda config_hash, name: True)["a"]
    assert seen.crash == ""
