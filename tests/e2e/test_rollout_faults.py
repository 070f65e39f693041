"""Rollouts through which the operator, a pod or a server is killed, at every phase: clients notice nothing of it."""

from __future__ import annotations

import pytest

from tests import savedmodels
from tests.e2e.conftest import Bench
from tests.e2e.rollouts import Served, identity, kill_operator
from tests.e2e.test_serving import KILL_MODEL_SERVER

MANUAL = {"strategy": "InPlace", "approval": "Manual"}


@pytest.fixture(scope="module")
def shared(cluster):
    made = Served(Bench(cluster, "rollout-faults"), replicas=2)
    made.bench.cluster.wait_for("two pods", lambda: len(made.pods()) == 2 and made.bench.wait_ready())
    yield made
    made.close()


@pytest.fixture
def model(shared):
    """The model under `latest`, with approval, which makes phases last; on two pods."""
    shared.afresh(server={"replicas": 2}, rollout=MANUAL)
    return shared


def rollout(model, version):
    """Roll ``version`` out by way of all its phases, and yield in each of them; it stays in each until it is gone on with."""
    old = model.promoted
    directory = model.directory / str(version)
    (directory / "variables").mkdir(parents=True)
    model.told("Verifying", says=f"version {version}", promotedVersion=old)
    yield "Verifying"
    (directory / "variables").rmdir()
    model.put_into(directory, version)
    model.told("WaitingForApproval", candidateVersion=version, promotedVersion=old)
    yield "WaitingForApproval"
    model.edit(rollout={**MANUAL, "approvedVersion": version, "bakeSeconds": 3600})
    model.published(f"{old},{version}", f"stable={old}")
    yield "Growing"
    model.told("Baking", promotedVersion=version)
    yield "Baking"
    model.edit(rollout={**MANUAL, "approvedVersion": version})
    model.published(str(version), f"stable={version}")
    yield "Settling"
    model.complete(version)


@pytest.mark.timeout(300)
def test_the_operator_is_killed_at_every_phase(model):
    old, new = model.promoted, model.next()
    with model.steady(old, new, per_second=50.0) as clients:
        for phase in rollout(model, new):
            kill_operator(model.cluster)
            if phase in ("Verifying", "WaitingForApproval"):
                model.only(clients, old)
        model.only(clients, new)


@pytest.mark.timeout(300)
def test_a_pod_is_deleted_at_every_phase(model):
    old, new = model.promoted, model.next()
    with model.clients(per_second=50.0) as clients:
        for phase in rollout(model, new):
            leaving = model.pods()[0]["metadata"]["name"]
            model.bench.kubectl("delete", "pod", leaving, "--wait=false")
            if phase in ("Verifying", "WaitingForApproval"):
                model.only(clients, old)
            model.two_ready()
        model.only(clients, new)
    assert clients.failures == []
    assert set(clients.answered()) == {old, new}


def test_a_model_server_that_is_killed_while_a_candidate_waits_gets_both_back(model):
    old, new = model.promoted, model.next()
    model.put(new)
    model.told("WaitingForApproval", candidateVersion=new)
    victim = model.pods()[0]["metadata"]["name"]
    with model.clients(per_second=50.0) as clients:
        model.bench.kubectl("exec", victim, "-c", "agent", "--", "python", "-c", KILL_MODEL_SERVER)
        model.told("Trying", "WaitingForApproval", candidateVersion=new, promotedVersion=old)
        model.two_ready()
        model.edit(rollout={**MANUAL, "approvedVersion": new})
        model.complete(new)
        model.only(clients, new)
    assert set(clients.answered()) == {old, new}, "what was in flight in the server is lost, and nothing wrong is answered"


def test_a_version_that_takes_the_server_down_is_given_up_and_the_old_one_is_back(model):
    old, deadly = model.promoted, model.next()
    savedmodels.place("aborts", model.directory / f"uploading-{deadly}").rename(model.directory / str(deadly))
    status = model.failed(deadly, "took the model server down", timeout=90)
    assert status["promotedVersion"] == old
    model.two_ready()
    with model.steady(old) as clients:
        model.only(clients, old)


def test_replicas_are_scaled_in_the_middle(model):
    old, new = model.promoted, model.next()
    before = identity(model.pods())
    with model.clients(per_second=50.0) as clients:
        model.put(new)
        model.told("WaitingForApproval", candidateVersion=new)
        model.edit(server={"replicas": 3}, rollout={**MANUAL, "approvedVersion": new})
        model.complete(new, timeout=120)
        model.cluster.wait_for("three pods", lambda: len(model.ready_pods()) == 3)
        model.only(clients, new)
        assert before < identity(model.pods())
        model.edit(server={"replicas": 2})
        model.two_ready()
        model.only(clients, new)
    assert clients.failures == []
    assert set(clients.answered()) == {old, new}
