"""Ready=True is never said too early, however late the operator hears of each thing.

A small cluster in which everything takes its steps in any order: spec edits, the Deployment's controller, kubelets, agents,
crashes; and the operator, which sees Deployments, pods and agents through streams that lag behind each other. It plans,
observes and judges by the real code. Whenever it says Ready, what was really so is looked up.
"""

from __future__ import annotations

import copy
import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.unit.operator import makers
from tfmodel_operator.api import spec
from tfmodel_operator.observe import agents, observe, workload
from tfmodel_operator.plan import plan as plans
from tfmodel_operator.status import status
from tfmodel_serving import model_config
from tfmodel_serving.state import AgentState, ModelState, VersionState

VOLUME = (1, 2, 3)
POLICIES = [{"latest": {"numVersions": 1}}, {"specific": {"versions": [1]}}, {"specific": {"versions": [1, 2]}}]
IMAGES = ["server:1", "server:2"]
picks = st.integers(0, 9)
HEARS = st.sampled_from(["hear_pods", "hear_deployments", "hear_agents"])
replicas = st.sampled_from([None, None, 1, 2, 3, 0])
images = st.sampled_from([None, *IMAGES])
policies = st.sampled_from([None, *POLICIES])


def planned(model, live, configmap, pods):
    exists = makers.Live(live, configmaps=(configmap,) if configmap else ())
    return plans.make_plan(model, makers.PLATFORM, exists, makers.NOW, pods)


def wanted_versions(policy):
    return set(policy.versions) if isinstance(policy, model_config.Specific) else set(sorted(VOLUME)[-policy.num_versions :])


class Pod:
    """One pod as it really is, and all that its agent has ever said."""

    def __init__(self, number, template):
        self.name = self.uid = f"pod-{number}"
        self.template, self.ready, self.leaving, self.started = template, False, False, False
        self.config, self.loaded, self.said = None, frozenset(), []
        self.say()

    def say(self):
        wanted = wanted_versions(self.config.policy) if self.config else set()
        rows = tuple(
            VersionState(v, "Verified", "AVAILABLE" if v in self.loaded else "", v in wanted)
            for v in sorted(VOLUME, reverse=True)
        )
        settled = bool(wanted) and wanted == self.loaded
        given = (self.config.hash if self.config else "", bool(self.loaded), settled, "a step")
        self.said.append(AgentState(self.uid, *given, models=(ModelState("half", "", rows),) if self.config else ()))

    def body(self):
        leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if self.leaving else {}
        annotations = self.template["metadata"]["annotations"]
        return {
            "metadata": {"name": self.name, "uid": self.uid, "annotations": dict(annotations), **leaving},
            "status": {
                "conditions": [{"type": "Ready", "status": str(self.ready)}],
                "initContainerStatuses": [{"name": "agent", "started": self.started}],
            },
        }


class Config:
    """The ConfigMap as one generation had it published."""

    def __init__(self, digest, policy):
        self.hash, self.policy = digest, policy


class Cluster(RuleBasedStateMachine):
    """What is really so, and what the operator has heard of it."""

    @initialize(replicas=st.integers(1, 2))
    def create(self, replicas):
        self.model = makers.body(generation=1, server={"image": IMAGES[0], "replicas": replicas})
        self.config, self.configmap, self.live, self.pods, self.everybody = None, None, None, [], {}
        self.pod_stream, self.deployment_stream = [[]], [None]
        self.pods_heard = self.deployments_heard = 0
        self.reports = {}
        self.status = {}

    # What happens

    @rule(replicas=replicas, image=images, policy=policies)
    def edit(self, replicas, image, policy):
        before = copy.deepcopy(self.model["spec"])
        if replicas is not None:
            self.model["spec"]["server"]["replicas"] = replicas
        if image:
            self.model["spec"]["server"]["image"] = image
        if policy:
            self.model["spec"]["versionPolicy"] = policy
        self.model["metadata"]["generation"] += before != self.model["spec"]

    @rule(late=st.integers(0, 3))
    def deployment_controller_sees(self, late):
        """It writes what it knows, which may be of some time ago as far as the pods go."""
        if self.live is None:
            return
        known = self.pod_stream[max(0, len(self.pod_stream) - 1 - late)]
        alive = [pod for pod in known if "deletionTimestamp" not in pod["metadata"]]
        marks = self.live["spec"]["template"]["metadata"]["annotations"]
        new = [pod for pod in alive if pod["metadata"]["annotations"] == marks]
        ready = [pod for pod in alive if pod["status"]["conditions"][0]["status"] == "True"]
        counts = {"replicas": len(alive), "updatedReplicas": len(new), "readyReplicas": len(ready)}
        self.live["status"] = {"observedGeneration": self.live["metadata"]["generation"], **counts}
        self.tell_deployment()

    @rule(pick=picks)
    def deployment_controller_acts(self, pick):
        if self.live is None:
            return
        wanted, template = self.live["spec"]["replicas"], self.live["spec"]["template"]
        alive = [pod for pod in self.pods if not pod.leaving]
        new = [pod for pod in alive if pod.template == template]
        surplus = [pod for pod in alive if pod not in new] or new[wanted:]
        if len(new) < wanted and (len(alive) <= wanted or pick % 2):
            pod = Pod(len(self.everybody), template)
            self.everybody[pod.uid] = pod
            self.pods.append(pod)
        elif surplus:
            surplus[pick % len(surplus)].leaving = True
        self.tell_pods()

    @rule(pick=picks, what=st.sampled_from(["start", "read", "load", "ready", "unready", "end", "crash", "delete"]))
    def pod_steps(self, pick, what):
        if not self.pods:
            return
        pod = self.pods[pick % len(self.pods)]
        match what:
            case "start":
                pod.started = True
            case "read" if pod.started:
                pod.config = self.config
            case "load" if pod.config:
                wanted = wanted_versions(pod.config.policy)
                missing = wanted - pod.loaded
                pod.loaded = pod.loaded | {min(missing)} if missing else frozenset(wanted)
            case "ready":
                pod.ready = bool(pod.loaded)
            case "unready":
                pod.ready = False
            case "end" if pod.leaving:
                self.pods.remove(pod)
            case "crash":
                pod.config, pod.loaded = None, frozenset()
            case "delete":
                pod.leaving = True
        pod.say()
        self.tell_pods()

    # What the operator hears and does

    def tell_pods(self):
        self.pod_stream.append([pod.body() for pod in self.pods])

    def tell_deployment(self):
        self.deployment_stream.append(dict(self.live))

    @rule(steps=st.integers(1, 3))
    def hear_of_pods(self, steps):
        self.pods_heard = min(self.pods_heard + steps, len(self.pod_stream) - 1)

    @rule(steps=st.integers(1, 3))
    def hear_of_deployments(self, steps):
        self.deployments_heard = min(self.deployments_heard + steps, len(self.deployment_stream) - 1)

    @rule(pick=picks)
    def hear_of_an_agent(self, pick):
        if self.pods:
            pod = self.pods[pick % len(self.pods)]
            self.reports[pod.uid] = agents.Report(pod.said[-1], "")

    @rule()
    def reconcile(self):
        model = spec.parse(self.model)
        plan = planned(model, self.deployment_stream[self.deployments_heard], self.configmap, self.said())
        self.apply(plan)
        said = self.said()
        deployment = self.deployment_stream[self.deployments_heard]
        progress = planned(model, deployment, self.configmap, said).progress
        found = observe.observe(
            model, deployment, said, config_hash=plan.config_hash, config_problem=None, rollout=progress.rollout
        )
        pods = [pod for pod in self.pod_stream[self.pods_heard] if not workload.terminating(pod)]
        self.status = status.status(found, self.status, {}, "2026-01-01T00:00:00Z")
        if self.ready():
            self.check(model, plan, pods)

    def said(self):
        pods = [pod for pod in self.pod_stream[self.pods_heard] if not workload.terminating(pod)]
        deployment = self.deployment_stream[self.deployments_heard]
        return observe.pod_facts(deployment, pods, lambda uid: self.reports.get(uid, agents.Report()))

    def apply(self, plan):
        self.configmap = plan.objects[0]
        if self.config is None or self.config.hash != plan.config_hash:
            self.config = Config(plan.config_hash, plan.progress.step.config.served)
        if self.live is None or self.live["spec"] != plan.deployment["spec"]:
            generation = self.live["metadata"]["generation"] + 1 if self.live else 1
            metadata = {**plan.deployment["metadata"], "generation": generation}
            self.live = {**plan.deployment, "metadata": metadata, "status": self.live["status"] if self.live else {}}
            self.tell_deployment()
            self.deployments_heard = len(self.deployment_stream) - 1  # the answer to one's own write

    def ready(self):
        return any(c["type"] == "Ready" and c["status"] == "True" for c in self.status.get("conditions", []))

    def check(self, model, plan, pods):
        """Look up, without the operator's code, whether what it concludes was so."""
        assert self.status["observedGeneration"] == self.model["metadata"]["generation"]
        assert self.live["spec"]["template"] == plan.deployment["spec"]["template"]
        assert self.live["status"]["observedGeneration"] == self.live["metadata"]["generation"]
        assert len(pods) == model.server.replicas
        for uid in (pod["metadata"]["uid"] for pod in pods):
            pod = self.everybody[uid]
            assert pod.template["spec"]["containers"][0]["image"] == model.server.image
            assert any(self.serves(said, plan, model) for said in pod.said)

    def serves(self, said, plan, model):
        if said.config_hash != plan.config_hash:
            return False
        available = {version.version for version in said.models[0].versions if version.state == "AVAILABLE"}
        return available == wanted_versions(model.version_policy)

    @rule(replicas=replicas, image=images, policy=policies, steps=st.integers(1, 12) | st.integers(12, 50), hears=st.lists(HEARS, max_size=3, unique=True))
    def edit_and_hear_late(self, replicas, image, policy, steps, hears):
        """All has come to rest; then comes an edit, something follows from it, and the operator hears of a part of that."""
        for _ in range(3):
            self.go_on()
        self.edit(replicas, image, policy)
        for _, step in zip(range(steps), itertools.chain(self.one_round(), self.one_round()), strict=False):
            step()
        for hear in hears:
            getattr(self, hear)()
        self.reconcile()

    @rule()
    def go_on(self):
        for step in self.one_round():
            step()
        self.hear_all()

    def one_round(self):
        yield self.reconcile
        for _ in range(3):
            yield lambda: self.deployment_controller_acts(1)
        for uid in [pod.uid for pod in self.pods]:
            for what in ("start", "read", "load", "load", "load", "ready", "end"):
                yield lambda uid=uid, what=what: self.step_of(uid, what)
        yield lambda: self.deployment_controller_sees(0)

    def step_of(self, uid, what):
        for number, pod in enumerate(self.pods):
            if pod.uid == uid:
                self.pod_steps(number, what)
                break

    def hear_all(self):
        self.hear_pods()
        self.hear_deployments()
        self.hear_agents()

    def hear_pods(self):
        self.pods_heard = len(self.pod_stream) - 1

    def hear_deployments(self):
        self.deployments_heard = len(self.deployment_stream) - 1

    def hear_agents(self):
        self.reports |= {pod.uid: agents.Report(pod.said[-1], "") for pod in self.pods}

    def teardown(self):
        """Once nothing more is changed, Ready comes: a status that never says it would pass everything above."""
        for _ in range(8):
            self.go_on()
        self.reconcile()
        assert self.ready(), self.status


TestWindows = Cluster.TestCase
TestWindows.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
