"""Versions are rolled out step by step: what is written, in which order, and what status says meanwhile.

The Deployment controller is the real one; pods have addresses here, and agents that say what real ones would.
"""

from __future__ import annotations

import json

import pytest

from tests.api.audit import Requests
from tests.api.conftest import Operator
from tests.api.kubelet import Kubelets
from tfmodel_serving import model_config

IN_PLACE = {"strategy": "InPlace"}
ROLLOUTS = "serving.tfmodel.dev/rollouts"


@pytest.fixture(scope="module")
def cluster(bare):
    return bare


class Play:
    """One TFModel, its operator and its pods."""

    def __init__(self, cluster, namespace, manifest):
        self.cluster, self.namespace, self.name = cluster, namespace, manifest["metadata"]["name"]
        self._idle_edits, self._generation = 0, 0
        cluster.apply(manifest)

    def get(self, kind="tfmodel", name=None):
        return self.cluster.get("-n", self.namespace, kind, name or self.name)

    def edit(self, **spec):
        self.cluster.kubectl("-n", self.namespace, "patch", "tfmodel", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def specific(self, *versions):
        self.edit(versionPolicy={"latest": None, "specific": {"versions": list(versions)}})

    def wait(self, what, condition, timeout=60):
        found = self.cluster.wait_for(what, self.get, done=lambda body: condition(body.get("status", {})), timeout=timeout)
        return found["status"]

    def promoted(self, version):
        def done(status):
            return (status.get("promotedVersion"), status.get("rollout", {}).get("phase"), ready(status)["status"]) == (version, "Complete", "True")

        return self.wait(f"version {version} to be promoted", done)

    def phase(self, phase):
        return self.wait(f"phase {phase}", lambda status: status.get("rollout", {}).get("phase") == phase)

    def served(self, name=None):
        text = self.get("configmap", name or f"{self.name}-models")["data"]["models.config"]
        return {entry.name: (entry.version_policy, dict(entry.version_labels)) for entry in model_config.from_text(text)}

    @property
    def configmaps(self):
        found = self.cluster.get("-n", self.namespace, "configmaps", "-l", f"serving.tfmodel.dev/server={self.name}")["items"]
        return {one["metadata"]["name"]: one for one in found}

    @property
    def mounted(self):
        volumes = self.get("deployment")["spec"]["template"]["spec"]["volumes"]
        return next(one["configMap"]["name"] for one in volumes if one["name"] == "config")

    @property
    def pods(self):
        found = self.cluster.get("-n", self.namespace, "pods", "-l", f"serving.tfmodel.dev/server={self.name}")["items"]
        return {one["metadata"]["uid"] for one in found}

    def looked_at(self, times=3):
        """Have the operator plan anew for it so often: what it does then it has done."""
        for number in range(times):
            before = self.passes()
            self.cluster.kubectl("-n", self.namespace, "annotate", "tfmodel", self.name, "--overwrite", f"tests/look={number}")
            self.cluster.wait_for("a pass", self.passes, done=lambda found, before=before: found > before)

    def passes(self):
        code, text = self.operator.get("/metrics")
        assert code == 200
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("tfmodel_operator_reconcile_total{"))

    def edit_idly(self):
        """Change the spec in what changes nothing but the generation of which status is."""
        self._idle_edits += 1
        spec = {"rollout": {"progressDeadlineSeconds": 600 + self._idle_edits}}
        found = self.cluster.kubectl("-n", self.namespace, "patch", "tfmodel", self.name, "--type=merge", "-o", "json", "-p", json.dumps({"spec": spec}))
        self._generation = json.loads(found)["metadata"]["generation"]

    def seen(self):
        """Return what status says, but for the generation, once a pass has planned the last edit and written that."""
        status = self.wait("a look at the new spec", lambda status: status.get("observedGeneration") == self._generation)
        conditions = [{key: value for key, value in one.items() if key != "observedGeneration"} for one in status["conditions"]]
        return {**status, "conditions": conditions, "observedGeneration": None}

    def events(self):
        found = self.cluster.get("-n", self.namespace, "events")["items"]
        return [(one["type"], one["reason"]) for one in found if one["involvedObject"]["name"] == self.name]


def seen_again(*models):
    """Have the operator plan anew for all of these; return what status says then."""
    for one in models:
        one.edit_idly()
    return [one.seen() for one in models]


def at_rest(*models):
    """Wait until two passes in turn have the same to say: what was under way has been written."""
    models[0].cluster.wait_for("all to come to rest", lambda: seen_again(*models) == seen_again(*models), done=bool)


def ready(status):
    return next((one for one in status.get("conditions", []) if one["type"] == "Ready"), {"status": "", "reason": "", "message": ""})


@pytest.fixture
def play(cluster, namespace, tfmodel):
    """Return a maker of TFModels in whose namespace an operator and kubelets are at work."""
    with Kubelets(cluster, namespace) as kubelets:
        operator = Operator(cluster, "--namespace", namespace, "--lease", namespace, name=namespace)

        def make(name="half", replicas=2, **spec):
            server = {"replicas": replicas, "pod": {"schedulerName": "none"}}  # a scheduler would say that there are no nodes
            made = Play(cluster, namespace, tfmodel(name, server=server, **spec))
            made.kubelets, made.operator = kubelets, operator
            return made

        yield make
        assert operator.stop() == 0
        assert "Traceback" not in operator.log.read_text()


def test_a_version_is_rolled_out_in_place_with_two_writes_and_no_new_pod(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    status = half.promoted(1)
    assert status["endpoints"]["labels"] == {"stable": f"http://half.{half.namespace}.svc:8501/v1/models/half/labels/stable"}
    assert half.served() == {"half": (model_config.Specific((1,)), {"stable": 1})}
    pods, generation, asked = half.pods, half.get("deployment")["metadata"]["generation"], Requests(half.cluster)
    half.specific(2)
    half.promoted(2)
    assert half.served() == {"half": (model_config.Specific((2,)), {"stable": 2})}
    assert half.pods == pods
    assert half.get("deployment")["metadata"]["generation"] == generation
    writes = [line.rsplit(" ", 2)[0] for line in asked.writes()]
    assert writes.count("patch configmaps") == 2
    assert writes.count("patch pods") == 2 * 2
    assert {*writes} <= {"patch configmaps", "patch pods", "patch tfmodels/status", "create events"}
    record = json.loads(half.configmaps["half-models"]["metadata"]["annotations"][ROLLOUTS])
    assert record["half"]["good"]["versions"] == [2]


def test_a_version_that_is_dropped_takes_the_place_of_the_newest_one(play):
    half = play(rollout=IN_PLACE)
    half.promoted(3)
    half.kubelets.drop(4)
    status = half.promoted(4)
    assert ready(status)["message"] == "version 4 AVAILABLE on all 2 pods"
    said = [line for line in half.operator.lines() if line["message"].startswith("Rollout is ") and 4 in (line["promoted"], line["candidate"])]
    assert [(line["message"], line["config"]) for line in said] == [
        ("Rollout is Growing", "{3, 4} stable=3"), ("Rollout is Settling", "{4} stable=4"), ("Rollout is Complete", "{4} stable=4"),
    ]  # fmt: skip
    assert {(line["tfmodel"], line["namespace"], line["level"]) for line in said} == {("half", half.namespace, "INFO")}
    assert "version 4 verified on 2 of 2 pods" in said[0]["step"]


def test_nothing_is_written_once_a_rollout_is_over(play):
    half = play(rollout=IN_PLACE)
    half.promoted(3)
    half.kubelets.drop(4)
    half.promoted(4)
    at_rest(half)
    asked = Requests(half.cluster)
    assert seen_again(half) == seen_again(half)
    assert asked.writes() == ["patch tfmodels/status half 200"] * 2, "that it has seen each spec, and nothing else"


def test_a_candidate_waits_on_trial_until_it_is_approved(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    half.promoted(1)
    half.edit(rollout={"approval": "Manual"}, versionPolicy={"specific": {"versions": [2]}})
    status = half.phase("WaitingForApproval")
    assert (status["promotedVersion"], status["candidateVersion"], ready(status)["reason"]) == (1, 2, "WaitingForApproval")
    assert status["endpoints"]["candidate"].endswith("/v1/models/half--candidate")
    assert "set spec.rollout.approvedVersion to 2" in status["rollout"]["step"]
    assert half.served()["half--candidate"][0] == model_config.Specific((2,))
    assert half.served()["half"][0] == model_config.Specific((1,)), "no client that doesn't ask for it gets it"
    assert next(one for one in status["versions"] if one["version"] == 2)["state"] == "AVAILABLE"
    half.edit(rollout={"approvedVersion": 2})
    status = half.promoted(2)
    assert "candidate" not in status["endpoints"]
    assert "candidateVersion" not in status


def test_a_paused_rollout_goes_on_when_it_is_let(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout={**IN_PLACE, "paused": True})
    half.edit(rollout={"paused": False})
    half.promoted(1)
    half.edit(rollout={"paused": True})
    half.specific(2)
    status = half.phase("Paused")
    assert (ready(status)["reason"], status["promotedVersion"]) == ("Paused", 1)
    half.edit(rollout={"paused": False})
    half.promoted(2)


def test_a_version_that_comes_with_new_pods_has_a_configmap_of_its_own_and_few_are_kept(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout={"strategy": "RollingUpdate"})
    half.promoted(1)
    pods = half.pods
    for version in (2, 3, 1, 2, 3):
        half.specific(version)
        half.promoted(version)
        assert half.mounted != "half-models"
        assert half.configmaps[half.mounted]["immutable"]
        assert half.served(half.mounted) == {"half": (model_config.Specific((version,)), {"stable": version})}
    assert not half.pods & pods
    half.cluster.wait_for("old ConfigMaps to be deleted", lambda: half.configmaps, done=lambda found: len(found) <= 1 + 3)
    half.edit(rollout={"strategy": "InPlace"})
    half.specific(1)
    half.promoted(1)
    assert half.mounted == "half-models"


def test_a_record_that_is_lost_does_no_harm(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    half.promoted(1)
    before = half.served()
    half.cluster.kubectl("-n", half.namespace, "annotate", "configmap/half-models", f"{ROLLOUTS}-")
    half.cluster.wait_for("the record", lambda: half.configmaps["half-models"]["metadata"]["annotations"].get(ROLLOUTS))
    half.promoted(1)
    assert half.served() == before
    half.cluster.kubectl("-n", half.namespace, "delete", "configmap/half-models")
    half.cluster.wait_for("the ConfigMap", lambda: half.configmaps.get("half-models"))
    half.promoted(1)
    assert half.served() == before


def test_a_version_that_is_not_there_is_waited_for_and_a_template_may_come_with_the_next_one(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    half.promoted(1)
    half.edit(versionPolicy={"specific": {"versions": [9]}})
    status = half.wait("a word on version 9", lambda status: ready(status)["reason"] == "NoVersionFound")
    assert (status["promotedVersion"], status["rollout"]["phase"]) == (1, "Verifying")
    pods = half.pods
    half.edit(versionPolicy={"specific": {"versions": [2]}}, server={"resources": {"requests": {"cpu": "100m"}}})
    half.promoted(2)
    assert not half.pods & pods


def source(claim="models", path="half"):
    return {"persistentVolumeClaim": {"claimName": claim, "path": path}}


def typo(half):
    """Promote version 1, and ask for a claim that doesn't exist; return pods and config before."""
    half.promoted(1)
    half.kubelets.absent.add("modles")
    pods, before = half.pods, half.configmaps["half-models"]["data"]
    half.edit(source=source("modles"))
    half.cluster.wait_for("a pod with the other claim", lambda: half.pods, done=lambda found: found > pods)
    half.looked_at()  # passes that would undo it
    assert half.configmaps["half-models"]["data"] == before, "a pod whose server restarts serves by this again"
    assert half.pods > pods
    assert half.mounted != "half-models"
    assert "/models/modles/half" in half.configmaps[half.mounted]["data"]["models.config"]
    status = half.get()["status"]
    assert (ready(status)["status"], status["promotedVersion"]) == ("False", 1)
    return pods, before


def test_a_claim_that_is_mistyped_and_put_right_replaces_no_pod(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    pods, before = typo(half)
    half.edit(source=source())
    half.promoted(1)
    half.cluster.wait_for("the pods that were there alone", lambda: half.pods, done=lambda found: found == pods)
    assert half.mounted == "half-models"
    assert half.configmaps["half-models"]["data"] == before


def test_another_claim_comes_with_new_pods_and_later_versions_in_place(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    pods, _ = typo(half)
    half.edit(source=source("models-2"))
    half.promoted(1)
    assert not half.pods & pods
    assert "/models/models-2/half" in half.configmaps[half.mounted]["data"]["models.config"]
    half.specific(2)
    half.promoted(2)
    assert half.mounted == "half-models"
    assert "/models/models-2/half" in half.configmaps["half-models"]["data"]["models.config"]


def test_another_path_comes_with_new_pods(play):
    half = play(versionPolicy={"specific": {"versions": [1]}}, rollout=IN_PLACE)
    half.promoted(1)
    pods = half.pods
    half.edit(source=source(path="elsewhere"))
    half.cluster.wait_for("the pods to be replaced", lambda: half.pods, done=lambda found: not found & pods)
    half.promoted(1)
    assert "/models/models/elsewhere" in half.configmaps[half.mounted]["data"]["models.config"]
