"""How a step becomes ConfigMaps and a pod template."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from tests.unit.operator import makers
from tests.unit.operator.makers import NOW, PLATFORM, Live
from tfmodel_operator.api import labels
from tfmodel_operator.plan import configmap, mounted, plan, platform
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import record
from tfmodel_operator.plan.rollout.record import Candidate, Good, Record
from tfmodel_serving.model_config import All, Latest, Specific

IN_PLACE = {"rollout": {"strategy": "InPlace"}}
REPLACING = {"rollout": {"strategy": "RollingUpdate"}}


class Server:
    """What exists of one server, as the plans made it; ``says`` is the last word of each pod's agent."""

    def __init__(self, **spec):
        self.spec, self.live, self.pods, self.made = spec, Live(), [], None
        self.reconcile()

    def reconcile(self, **spec):
        self.spec |= spec
        self.made = plan.make_plan(makers.tfmodel(**self.spec), PLATFORM, self.live, NOW, tuple(self.pods))
        kept = {name for _, name in self.made.kept}
        stay = [found for found in self.live.configmaps if found["metadata"]["name"] in kept]
        new = [found for found in self.made.objects if found["kind"] == "ConfigMap"]
        names = {found["metadata"]["name"] for found in new}
        made_at = {"creationTimestamp": f"2026-01-01T00:00:{len(self.live.configmaps):02}Z"}
        new = [{**found, "metadata": {**made_at, **found["metadata"]}} for found in new]
        stay = [found for found in stay if found["metadata"]["name"] not in names]
        self.live = Live(self.made.deployment, configmaps=(*stay, *new))
        return self.made.progress.step

    def serve(self, *versions, number=1, current=True):
        """One pod has read what is published, and has these versions."""
        rows = [makers.version(v, labels=("stable",) if v == max(versions) else ()) for v in versions]
        rows += [makers.version(v, "", wanted=False) for v in (1, 2, 3) if v not in versions]
        self.pods = [makers.pod(f"half-{number}", *rows, config_hash=self.made.config_hash, current=current)]
        return self.reconcile()

    @property
    def names(self):
        return [found["metadata"]["name"] for found in self.live.configmaps]

    @property
    def config(self):
        return find(self.live, "half-models")

    @property
    def mounts(self):
        return mounted.config_name(self.live.deployment["spec"]["template"])


def find(live, name):
    return next(found for found in live.configmaps if found["metadata"]["name"] == name)


def served(found, name="half"):
    return configmap.published(configmap.read(found), name).config


def test_the_first_version_is_pinned_and_the_next_one_grows_beside_it():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **IN_PLACE)
    assert served(server.config) == configs.Config(Specific((1,)))
    server.serve(1)
    assert str(served(server.config)) == "{1} stable=1"
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1)
    assert str(served(server.config)) == "{1, 2} stable=1"
    server.serve(1, 2)
    assert str(served(server.config)) == "{2} stable=2"
    assert server.mounts == "half-models"
    assert server.names == ["half-models"]


def test_a_step_in_place_touches_no_object_but_the_configmap():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **IN_PLACE)
    server.serve(1)
    before = server.made
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1)
    assert server.made.progress.step.phase == "Growing"
    changed = [old["kind"] for old, new in zip(before.objects, server.made.objects, strict=True) if old != new]
    assert changed == ["ConfigMap"]
    assert server.made.touches


def replaced(server, version):
    """Have ``version`` come with other pods."""
    server.reconcile(versionPolicy={"specific": {"versions": [version]}})
    server.serve(*sorted({1, *server.made.progress.step.record.good.versions}))
    assert server.made.progress.step.phase == "Replacing"
    server.serve(version, number=version)


def test_a_version_that_comes_with_new_pods_has_a_configmap_of_its_own():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **REPLACING)
    server.serve(1)
    before = server.config["data"]
    template = server.live.deployment["spec"]["template"]
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1)
    assert server.config["data"] == before, "the old pods, and those made if it goes back, have that one mounted"
    own = find(server.live, server.mounts)
    assert own["immutable"]
    assert server.mounts == f"half-models-{configmap.content_hash(own['data'])}"
    assert served(own).versions == {2}
    assert not server.made.touches
    now = server.live.deployment["spec"]["template"]
    assert platform.hash_of(now) == platform.hash_of(template), "spec asks for the same template"
    assert platform.mark_of(now) != platform.mark_of(template), "and the pods are others"


def test_the_record_is_on_the_configmap_that_stays():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **REPLACING)
    server.serve(1)
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1)
    kept = record.from_text(configmap.record_of(server.config, "half"))
    assert (kept.good.versions, kept.candidate.version) == ({1}, 2)
    assert "annotations" not in find(server.live, server.mounts)["metadata"]


def test_no_more_configmaps_are_kept_than_replica_sets_except_those_that_pods_have():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **REPLACING)
    server.serve(1)
    old = [configmap.fixed(makers.tfmodel(), {"models.config": str(n), "agent.json": ""}) for n in range(6)]
    old = [{**found, "metadata": {**found["metadata"], "creationTimestamp": f"2025-01-0{n + 1}T00:00:00Z"}} for n, found in enumerate(old)]
    names = [found["metadata"]["name"] for found in old]
    body = {"metadata": {"name": "half-0", "annotations": {labels.CONFIG: names[0]}}}
    server.live = dataclasses.replace(server.live, configmaps=(*server.live.configmaps, *old), pods=(body,))
    server.reconcile()
    assert {name for _, name in server.made.kept} == {names[0], names[4], names[5]}


def test_where_the_template_has_to_wait_the_live_one_stays():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **IN_PLACE)
    server.serve(1)
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1)
    before = server.live.deployment
    server.reconcile(server={"image": "tensorflow/serving:2.18.0", "replicas": 2})
    after = server.live.deployment
    assert after["spec"]["template"] == before["spec"]["template"], "a version is on its way in"
    assert (before["spec"].get("replicas"), after["spec"]["replicas"]) == (None, 2), "how many pods there are has nothing to do with it"
    server.serve(1, 2)
    assert server.live.deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith("2.18.0")


def source(claim="models", path="half"):
    return {"persistentVolumeClaim": {"claimName": claim, "path": path}}


def promoted(**spec):
    """Return a server on which version 1 is promoted, and the body of its pod."""
    server = Server(**{"versionPolicy": {"specific": {"versions": [1]}}, **IN_PLACE, **spec})
    server.serve(1)
    server.serve(1)
    return server, {
        "metadata": {"name": "half-1", "annotations": server.live.deployment["spec"]["template"]["metadata"]["annotations"]}
    }


def base_path(found):
    entries = configmap.read(found).entries
    source = configmap.published_source(configmap.read(found), "half")
    assert {entry.base_path for entry in entries} == {configmap.base_path(dataclasses.replace(makers.tfmodel(), source=source))}
    return entries[0].base_path


def edit(server, body, **spec):
    """Change spec while the pod ``body`` is there, and of the template before from then on."""
    server.live = dataclasses.replace(server.live, pods=(body,))
    server.reconcile(**spec)
    server.pods = [dataclasses.replace(pod, current=False) for pod in server.pods]


@pytest.mark.parametrize("given", [source("modles"), source(path="hlaf")], ids=["another claim", "another path"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_other_files_come_with_new_pods_and_the_old_ones_keep_their_config(given, rounds):
    server, body = promoted()
    before = server.config["data"]
    assert str(served(server.config)) == "{1} stable=1"
    for _ in range(rounds):
        edit(server, body, source=given)
    assert server.config["data"] == before, "the pods that serve could not start again with another one"
    own = find(server.live, server.mounts)
    assert (own.get("immutable"), served(own).versions) == (True, {1})
    assert base_path(own) == "/models/" + "/".join(given["persistentVolumeClaim"].values())
    assert len(server.names) == 2, "each look has the same one"
    assert not server.made.touches


def test_pods_that_have_the_files_that_spec_asks_for_again_are_not_replaced():
    server, body = promoted()
    template = server.live.deployment["spec"]["template"]
    edit(server, body, source=source("modles"))
    edit(server, body, source=source("modles"))
    assert server.live.deployment["spec"]["template"] != template
    edit(server, body, source=source())
    assert server.live.deployment["spec"]["template"] == template
    assert base_path(server.config) == "/models/models/half"


def test_files_that_are_corrected_come_with_a_configmap_of_their_own_again():
    server, body = promoted()
    edit(server, body, source=source("modles"))
    edit(server, body, source=source("models-2"))
    assert base_path(server.config) == "/models/models/half"
    assert base_path(find(server.live, server.mounts)) == "/models/models-2/half"


def test_the_config_is_changed_in_place_again_once_no_pod_has_the_files_before():
    server, body = promoted()
    edit(server, body, source=source("models-2"))
    server.live = dataclasses.replace(server.live, pods=())
    server.serve(1, number=2)
    assert server.made.progress.step.phase == "Complete"
    assert server.mounts != "half-models", "as long as nothing has to change, no pod is replaced for it"
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1, number=2)
    assert (server.mounts, base_path(server.config)) == ("half-models", "/models/models-2/half")


@pytest.mark.parametrize("going", [{"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, {"status": {"phase": "Failed"}}])
def test_a_pod_on_its_way_out_keeps_no_config(going):
    server, body = promoted()
    edit(server, body, source=source("models-2"))
    gone = {**body, **going, "metadata": {**body["metadata"], **going.get("metadata", {})}}
    server.live = dataclasses.replace(server.live, pods=(gone,))
    server.serve(1, number=2)
    server.live = dataclasses.replace(server.live, pods=(gone,))
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1, number=2)
    assert server.mounts == "half-models"


def test_files_are_corrected_in_place_where_nothing_serves():
    server = Server(source=source("modles"), **IN_PLACE)
    server.reconcile(source=source())
    assert (server.mounts, base_path(server.config)) == ("half-models", "/models/models/half")


def test_other_files_wait_for_a_version_that_is_on_its_way_in():
    server, body = promoted()
    server.reconcile(versionPolicy={"specific": {"versions": [2]}})
    server.serve(1)
    assert server.made.progress.step.phase == "Growing"
    edit(server, body, source=source("models-2"))
    assert (server.mounts, base_path(server.config)) == ("half-models", "/models/models/half")
    server.live = dataclasses.replace(server.live, pods=(body,))
    server.serve(1, 2)
    server.serve(2)
    own = find(server.live, server.mounts)
    for found, files in ((server.config, "models"), (own, "models-2")):
        assert (base_path(found), str(served(found))) == (f"/models/{files}/half", "{2} stable=2")


def test_other_files_wait_while_the_rollout_is_paused_and_are_not_called_served():
    server, body = promoted()
    edit(server, body, source=source(path="elsewhere"), rollout={"paused": True})
    assert (server.mounts, base_path(server.config)) == ("half-models", "/models/models/half")
    assert server.made.progress.step.phase == "Paused"


def test_a_failed_version_with_other_files_leaves_the_old_pods_their_config():
    server, body = promoted(**REPLACING)
    before = server.config["data"]
    edit(server, body, source=source("models-2"), versionPolicy={"specific": {"versions": [2]}})
    assert served(find(server.live, server.mounts)).versions == {2}
    edit(server, body, versionPolicy={"specific": {"versions": [1]}})
    edit(server, body)
    assert server.config["data"] == before
    own = find(server.live, server.mounts)
    assert (base_path(own), served(own).versions) == ("/models/models-2/half", {1})


def test_nothing_is_published_where_nobody_knows_what_was():
    server = Server(versionPolicy={"specific": {"versions": [1]}}, **IN_PLACE)
    server.serve(1)
    server.live = Live(server.live.deployment)
    server.pods = [makers.silent("half-1", ready=True)]
    step = server.reconcile()
    assert (step.phase, step.config) == ("Waiting", None)
    assert server.names == []
    assert server.mounts == "half-models"
    server.serve(1)
    assert str(served(server.config)) == "{1} stable=1"


@pytest.mark.parametrize(
    "config",
    [
        configs.Config(Latest(2)),
        configs.Config(All(), {"stable": 3}),
        configs.Config(Specific((1, 2)), {"stable": 1, "next": 2}, watched=(4,)),
        configs.Config(Specific((1,)), {"stable": 1}, Specific((2,)), 1, (3, 4)),
        configs.Config(candidate=Latest(1), watched=(2,)),
    ],
)
def test_what_is_published_can_be_read_back(config):
    files = configmap.data([configmap.share(makers.tfmodel(), config)])
    found = configmap.configmap(makers.tfmodel(), files, {})
    assert served(found) == config


def test_a_configmap_holds_the_shares_of_several_models():
    one, two = makers.tfmodel(), makers.tfmodel(name="other")
    mine = configs.Config(Specific((1,)), {"stable": 1}, Specific((2,)), 1)
    other = configs.Config(Specific((7,)), watched=(9,))
    files = configmap.data([configmap.share(one, mine), configmap.share(two, other)])
    records = {"half": Record(Good(frozenset({1})), candidate=Candidate(2, 0.0, 0.0)), "other": Record()}
    found = configmap.configmap(one, files, records)
    assert (served(found), served(found, "other")) == (mine, other)
    assert record.from_text(configmap.record_of(found, "half")) == records["half"]
    assert configmap.record_of(found, "other") == ""


@pytest.mark.parametrize(
    "data",
    [None, {}, {"models.config": "x"}, {"models.config": "{", "agent.json": "{}"}, {"models.config": configmap.EMPTY, "agent.json": "[]"}],
)
def test_a_configmap_that_somebody_has_spoilt_is_as_good_as_none(data):
    assert configmap.published(configmap.read({"metadata": {}, "data": data}), "half") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"other": {}}', "null", "[" * 100000])
def test_a_record_that_somebody_has_spoilt_is_as_good_as_none(text):
    assert configmap.record_of({"metadata": {"annotations": {labels.ROLLOUTS: text}}}, "half") == ""
    assert configmap.record_of(None, "half") == ""


def test_an_annotation_of_records_is_json_by_model():
    found = configmap.configmap(makers.tfmodel(), {}, {"half": Record(Good(frozenset({3}), {"stable": 3}))})
    told = json.loads(found["metadata"]["annotations"][labels.ROLLOUTS])
    assert yaml.safe_load(json.dumps(told["half"]["good"])) == {"versions": [3], "labels": {"stable": 3}, "immutable": False}
