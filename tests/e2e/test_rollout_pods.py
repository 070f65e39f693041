"""Rollouts that replace pods: RollingUpdate loses no request, Recreate has the gap that it announces; bad versions go back."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Bench
from tests.e2e.rollouts import Served, broken_kernel, identity, kill_operator


@pytest.fixture(scope="module")
def shared(cluster):
    made = Served(Bench(cluster, "rollout-pods"), rollout={"strategy": "RollingUpdate"})
    yield made
    made.close()


@pytest.fixture
def model(shared):
    shared.afresh(rollout={"strategy": "RollingUpdate"})
    shared.drained()
    return shared


def test_a_good_version_comes_with_new_pods_without_a_failed_request(model):
    old, new = model.promoted, model.next()
    before = identity(model.pods())
    with model.clients() as clients:
        model.put(new)
        model.told("Replacing", candidateVersion=new, promotedVersion=old)
        model.complete(new, timeout=120)
        model.drained()
        model.only(clients, new)
    assert clients.failures == []
    assert set(clients.answered()) == {old, new}
    assert not before & identity(model.pods())


def test_a_bad_version_never_takes_an_old_pod_away(model):
    old, bad = model.promoted, model.next()
    with model.steady(old) as clients:
        model.put(bad, content=broken_kernel())
        model.failed(bad, "NoAdd", timeout=120)
        model.drained()
        model.only(clients, old)


def test_a_version_and_a_template_change_together_though_the_operator_is_killed(model):
    old, new = model.promoted, model.next()
    model.edit(versionPolicy={"specific": {"versions": [old]}})
    model.complete(old)
    model.put(new)
    with model.clients() as clients:
        model.edit(server={"pod": {"labels": {"team": "vision"}}}, versionPolicy={"specific": {"versions": [new]}})
        model.told("Replacing", candidateVersion=new)
        kill_operator(model.cluster)
        model.complete(new, timeout=120)
        model.drained()
        model.only(clients, new)
    assert clients.failures == []
    (pod,) = model.pods()
    assert pod["metadata"]["labels"]["team"] == "vision"


def test_at_most_three_configs_are_kept(model):
    for _ in range(2):
        new = model.next()
        model.put(new)
        model.complete(new, timeout=120)
    configs = model.bench.get("configmaps", "-l", "serving.tfmodel.dev/server=half")["items"]
    assert len([config for config in configs if config.get("immutable")]) <= 3


def test_recreate_stops_the_old_pod_first_and_comes_back_from_a_bad_version(model):
    old, new = model.promoted, model.next()
    model.edit(rollout={"strategy": "Recreate"})
    model.put(new)
    model.told("Replacing", candidateVersion=new)
    model.complete(new, timeout=120)
    assert model.bench.answers([1.0]) == [0.5 + new]
    model.put(new + 1, content=broken_kernel())
    model.failed(new + 1, "NoAdd", timeout=120)
    model.told("RolledBack", promotedVersion=new, timeout=120)
    model.bench.kubectl("wait", "--for=condition=Available", "tfmodel/half", "--timeout=60s")
    assert model.bench.answers([1.0]) == [0.5 + new], f"version {old} is long gone"
