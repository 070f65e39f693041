"""New versions on a real node, good and bad ones, each under load: no request fails, no pod is touched, no bad version answers.

All tests share one served model, whatever version of it is promoted: each drops versions that were never there.
"""

from __future__ import annotations

import shutil
import time

import pytest

from tests import sample
from tests.e2e.conftest import Bench
from tests.e2e.rollouts import RECORDS, Served, broken_kernel


@pytest.fixture(scope="module")
def shared(cluster):
    made = Served(Bench(cluster, "rollouts"))
    yield made
    made.close()


@pytest.fixture
def model(shared):
    """The model under `latest`, with nothing of an earlier test in its spec and on its volume."""
    shared.bench.kubectl("annotate", "tfmodel/half", "serving.tfmodel.dev/retry-")
    shared.afresh(versionLabels=None, rollout={"strategy": "InPlace"})
    return shared


def test_a_good_version_that_is_dropped_is_promoted(model):
    old, new = model.promoted, model.next()
    with model.steady(old, new) as clients:
        model.only(clients, old)
        model.put(new)
        model.told("Verifying", "Growing", "Settling", candidateVersion=new)
        model.complete(new)
        model.only(clients, new)
    (first, *_) = model.bench.get("tfmodel", "half")["status"]["versions"]
    assert (first["version"], first["state"], first["labels"]) == (new, "AVAILABLE", ["stable"])


def test_a_version_that_fails_to_load_is_given_up_in_the_servers_words(model):
    old, bad = model.promoted, model.next()
    with model.steady(old) as clients:
        model.put(bad, content=broken_kernel())
        status = model.failed(bad, "NoAdd")
        assert status["promotedVersion"] == old
        model.only(clients, old)
        ready, stalled, available = (model.bench.condition(kind)["status"] for kind in ("Ready", "Stalled", "Available"))
        assert (ready, stalled, available) == ("False", "True", "True")


def test_a_bad_warmup_file_never_reaches_the_server(model):
    old, bad = model.promoted, model.next()
    with model.steady(old) as clients:
        model.put(bad, records=(b"no record at all",))
        model.told("Verifying", "RolledBack", says=f"version {bad}", promotedVersion=old)
        assert "tf_serving_warmup_requests" in model.bench.wait_reason("WarmupInvalid")
        model.only(clients, old)
    assert model.verdict(bad) == "Rejected"


def test_a_half_copied_version_waits_until_it_is_whole(model):
    old, new = model.promoted, model.next()
    with model.steady(old, new) as clients:
        directory = model.directory / str(new)
        (directory / "variables").mkdir(parents=True)
        (directory / "variables/variables.data-00000-of-00001").write_bytes(b"half of it")
        model.told("Verifying", says="Incomplete: saved_model.pb is missing", promotedVersion=old)
        model.only(clients, old)
        shutil.rmtree(directory / "variables")
        (directory / "saved_model.pb").write_bytes(sample.saved_model(new))
        model.complete(new)
        model.only(clients, new)


def test_a_version_that_is_deleted_while_it_loads_is_forgotten(model):
    old, gone = model.promoted, model.next()
    with model.steady(old, 100) as clients:
        directory = model.put_slow(gone, seconds=6)
        model.loading(gone)
        shutil.rmtree(directory)
        model.published(str(old), f"stable={old}")
        model.complete(old)
        model.only(clients, old)


def test_of_three_versions_dropped_at_once_only_the_newest_is_rolled_out(model):
    old, newest = model.promoted, model.next() + 2
    with model.steady(old, newest) as clients:
        for version in range(newest - 2, newest + 1):
            model.put(version)
        model.complete(newest)
        model.only(clients, newest)


def test_git_going_back_in_the_middle_takes_the_new_version_out(model):
    old, new = model.promoted, model.next()
    model.edit(versionPolicy={"specific": {"versions": [old]}})
    model.complete(old)
    with model.steady(old) as clients:
        model.put_slow(new, seconds=4)
        model.edit(versionPolicy={"specific": {"versions": [new]}})
        model.published(f"{old},{new}", f"stable={old}")
        model.edit(versionPolicy={"specific": {"versions": [old]}})
        model.published(str(old), f"stable={old}")
        model.complete(old)
        model.only(clients, old)


def test_a_version_that_answers_alike_passes_and_one_that_does_not_is_never_seen_by_a_client(model):
    old, alike, other = model.promoted, model.next(), model.next() + 1
    model.edit(rollout={"strategy": "InPlace", "comparison": {"policy": "Require", "maxRelativeDifference": "0.9"}})
    with model.steady(old, alike) as clients:
        model.put(alike, records=RECORDS)
        model.complete(alike)
        model.put(other, plus=-1000.0, records=RECORDS)
        status = model.failed(other, f"output y of version {other} differs from version {alike}'s by")
        assert status["promotedVersion"] == alike
        model.only(clients, alike)
    found = model.bench.get("tfmodel", "half")["status"]["rollout"]["comparison"]
    assert (found["version"], found["against"], found["pods"]) == (other, alike, 1), "what was found stays told"
    assert float(found["outputs"][0]["maxRelativeDifference"]) > 0.9


def test_a_refused_version_is_promoted_when_the_gate_is_opened_and_somebody_asks(model):
    old, other = model.promoted, model.next()
    compare = {"policy": "Require"}
    model.edit(rollout={"strategy": "InPlace", "comparison": compare})
    with model.steady(old, other) as clients:
        model.put(other, records=RECORDS)
        model.failed(other, "differs")
        model.edit(rollout={"strategy": "InPlace", "comparison": {**compare, "policy": "Report"}})
        model.only(clients, old)
        model.annotate(f"serving.tfmodel.dev/retry={other}")
        model.complete(other)
        model.only(clients, other)


def test_a_refused_version_is_held_for_inspection_until_another_one_comes(model):
    old, refused, good = model.promoted, model.next(), model.next() + 1
    compare = {"policy": "Require", "maxRelativeDifference": "0.9"}
    model.edit(rollout={"strategy": "InPlace", "comparison": compare, "onFailure": "Hold"})
    with model.steady(old, good) as clients:
        model.put(refused, plus=-1000.0, records=RECORDS)
        model.told("Held", says=f"version {refused} failed, and is kept as half--candidate for inspection", promotedVersion=old)
        model.published(str(old), f"stable={old}", str(refused))
        assert model.bench.predict([1.0], model="half--candidate") == [0.5 - 1000.0]
        ready, stalled, available = (model.bench.condition(kind)["status"] for kind in ("Ready", "Stalled", "Available"))
        assert (ready, stalled, available) == ("False", "True", "True")
        model.only(clients, old)
        model.put(good, records=RECORDS)
        model.complete(good)
        model.only(clients, good)
        model.published(str(good), f"stable={good}")


def test_a_candidate_waits_for_approval_under_its_private_name(model):
    old, new = model.promoted, model.next()
    manual = {"strategy": "InPlace", "approval": "Manual"}
    model.edit(rollout=manual)
    with model.steady(old, new) as clients:
        model.put(new)
        status = model.told("WaitingForApproval", says=f"set spec.rollout.approvedVersion to {new}", promotedVersion=old, candidateVersion=new)
        assert "half--candidate" in str(status["endpoints"])
        assert model.bench.predict([1.0], model="half--candidate") == [0.5 + new]
        model.only(clients, old)
        assert set(clients.answered()) == {old}
        model.edit(rollout={**manual, "approvedVersion": new, "paused": True})
        model.told("Paused", promotedVersion=old)
        model.only(clients, old)
        model.edit(rollout={**manual, "approvedVersion": new})
        model.complete(new)
        model.only(clients, new)


def test_a_paused_rollout_moves_on_when_it_is_resumed(model):
    old, new = model.promoted, model.next()
    model.edit(rollout={"strategy": "InPlace", "paused": True})
    with model.steady(old, new) as clients:
        model.put(new)
        model.told("Paused", candidateVersion=new, promotedVersion=old)
        model.only(clients, old)
        model.edit(rollout={"strategy": "InPlace"})
        model.complete(new)
        model.only(clients, new)


def test_an_old_version_that_bakes_is_an_instant_way_back(model):
    old, new = model.promoted, model.next()
    bake = {"rollout": {"strategy": "InPlace", "bakeSeconds": 600}}
    model.edit(versionPolicy={"specific": {"versions": [old]}})
    model.put(new)
    with model.steady(old, new) as clients:
        model.edit(versionPolicy={"specific": {"versions": [new]}}, **bake)
        model.told("Baking", promotedVersion=new)
        model.only(clients, new)
        model.edit(versionPolicy={"specific": {"versions": [old]}}, **bake)
        back = time.monotonic()
        model.told("Complete", "Settling", "Baking", promotedVersion=old)
        assert time.monotonic() - back < 5
        model.complete(old)
        model.only(clients, old)


def test_all_serves_what_can_be_served(model):
    old, first = model.promoted, model.next()
    with model.steady(old, first, first + 2) as clients:
        model.edit(versionPolicy={"all": {}})
        model.put(first)
        model.put(first + 1, content=broken_kernel())
        model.put(first + 2)
        model.failed(first + 1, "NoAdd")
        model.published(f"{old},{first},{first + 2}", f"stable={first + 2}")
        model.only(clients, first + 2)


def test_labels_move_and_swap_without_a_gap(model):
    old, new = model.promoted, model.next()
    model.put(new)
    both = {"specific": {"versions": [old, new]}}
    model.edit(versionPolicy=both, versionLabels={"a": old, "b": old})
    model.complete(new)
    with model.steady(old, new, label="a") as a, model.steady(old, new, label="b") as b:
        for labels in ({"a": old, "b": new}, {"a": new, "b": old}):
            model.edit(versionPolicy=both, versionLabels=labels)
            model.published(f"{old},{new}", f"a={labels['a']},b={labels['b']}")
            model.complete(new)
            model.only(a, labels["a"])
            model.only(b, labels["b"])
