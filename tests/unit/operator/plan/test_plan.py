"""All objects together, and those that are too small for a file of their own."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from tests.unit.operator.makers import PLATFORM, Live, planned, tfmodel
from tfmodel_operator.api import labels
from tfmodel_operator.plan import containers, service


def kinds(plan):
    return [(found["kind"], found["metadata"]["name"]) for found in plan.objects]


def one(plan, kind):
    return next(found for found in plan.objects if found["kind"] == kind)


def test_what_pods_need_comes_before_the_deployment():
    assert kinds(planned(server={"replicas": 2})) == [
        ("ConfigMap", "half-models"),
        ("Service", "half"),
        ("Service", "half-headless"),
        ("NetworkPolicy", "half"),
        ("PodDisruptionBudget", "half"),
        ("Deployment", "half"),
    ]


def test_every_object_is_ours_and_goes_with_its_tfmodel():
    for found in planned().objects:
        (owner,) = found["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("TFModel", "half", True)
        assert found["metadata"]["labels"] == labels.of_server("half")
        assert found["metadata"]["namespace"] == "ml"


@pytest.mark.parametrize(
    ("given", "live", "guarded"),
    [(None, None, False), (1, None, False), (0, 5, False), (2, None, True), (None, 1, False), (None, 3, True), (1, 3, False)],
)
def test_only_several_pods_need_a_disruption_budget(given, live, guarded):
    exists = Live({"metadata": {}, "spec": {"replicas": live, "template": planned().deployment["spec"]["template"]}} if live else None)
    plan = planned(live=exists, server={} if given is None else {"replicas": given})
    assert ("PodDisruptionBudget" in [kind for kind, _ in kinds(plan)]) is guarded


def test_without_a_policy_there_is_no_network_policy():
    assert "NetworkPolicy" not in [kind for kind, _ in kinds(planned(server={"networkPolicy": {"policy": "Disabled"}}))]


def ports_from(policy):
    return {
        str(rule.get("from", "everybody")): [port["port"] for port in rule["ports"]]
        for rule in one(policy, "NetworkPolicy")["spec"]["ingress"]
    }


def test_the_namespace_may_call_and_the_operator_may_ask():
    operator = [{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tfmodel-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "tfmodel-operator"}},
    }]  # fmt: skip
    assert ports_from(planned()) == {str([{"podSelector": {}}]): [8500, 8501, 8502], str(operator): [8502]}


def test_named_peers_take_the_place_of_the_namespace():
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    assert ports_from(planned(server={"networkPolicy": {"from": peers}}))[str(peers)] == [8500, 8501, 8502]


def test_an_operator_outside_the_cluster_reaches_the_agents():
    assert ports_from(planned(dataclasses.replace(PLATFORM, namespace="")))["everybody"] == [8502]


def test_both_services_lead_to_the_pods():
    plan = planned()
    template = plan.deployment["spec"]["template"]
    names = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    for found in plan.objects:
        if found["kind"] == "Service":
            assert found["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            assert {port["targetPort"] for port in found["spec"]["ports"]} <= names
    assert [found["spec"].get("clusterIP") for found in plan.objects if found["kind"] == "Service"] == [None, "None"]


def test_endpoints():
    assert service.endpoints(tfmodel(modelName="m")) == {
        "rest": "http://half.ml.svc:8501/v1/models/m",
        "grpc": "half.ml.svc:8500",
        "headless": "dns:///half-headless.ml.svc:8500",
    }


def live(**changes):
    found = copy.deepcopy(planned(**changes).deployment)
    found["spec"].setdefault("replicas", 1)  # the API server's default
    return found


def test_replicas_that_nobody_gives_are_left_to_others():
    assert "replicas" not in planned().deployment["spec"]
    scaled = live()
    scaled["spec"]["replicas"] = 7  # an autoscaler
    assert "replicas" not in planned(live=Live(scaled)).deployment["spec"]


def test_replicas_that_are_given_are_set():
    scaled = live()
    scaled["spec"]["replicas"] = 7
    assert planned(live=Live(scaled), server={"replicas": 2}).deployment["spec"]["replicas"] == 2
    assert planned(live=Live(scaled), server={"replicas": 0}).deployment["spec"]["replicas"] == 0


def test_replicas_that_are_no_longer_given_stay():
    """Without the field in what we apply, the API server would make it 1 at once."""
    given = live(server={"replicas": 5})
    after = planned(live=Live(given)).deployment
    assert after["spec"]["replicas"] == 5
    assert planned(live=Live(after)).deployment == after


@pytest.mark.parametrize("name", ["half", "other"])
def test_the_drain_token_of_an_adopted_deployment_is_kept(name):
    def token(deployment):
        (found,) = [a for a in deployment["spec"]["template"]["spec"]["initContainers"][0]["args"] if containers.DRAIN_TOKEN in a]
        return found

    adopted = copy.deepcopy(planned().deployment)
    text = "adopted-token"
    arguments = adopted["spec"]["template"]["spec"]["initContainers"][0]["args"]
    arguments[-1] = f"{containers.DRAIN_TOKEN}{text}"
    assert token(planned(live=Live(adopted), name=name).deployment).endswith(text)


def test_a_config_hash_names_what_agents_read():
    first, other = planned(), planned(versionPolicy={"specific": {"versions": [3]}})
    assert first.config_hash != other.config_hash
    assert first.deployment == other.deployment, "a change of the models restarts no pod"
