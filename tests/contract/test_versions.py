"""How versions of a live model come, go, and get stuck."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import savedmodels
from tests.contract.client import SETTLED_SECONDS, UNCHANGED_SECONDS, Client, Model, Outcome, eventually, stays
from tests.contract.server import Server, Start

pytestmark = pytest.mark.contract

PATIENCE = 10.0


def bad_version(base_path: Path, version: int) -> None:
    """Make a version that fails to load."""
    savedmodels.spoil(savedmodels.place("half_plus_two", base_path / str(version)), "no saved_model.pb")


def _is_available(version: int, states: dict[int, str]) -> bool:
    return states.get(version) == "AVAILABLE"


def mend(base_path: Path, version: int) -> None:
    """Make a failing version good."""
    shutil.rmtree(base_path / str(version))
    savedmodels.place("half_plus_three", base_path / str(version))


@contextlib.contextmanager
def predicting(server: Server, model: str) -> Iterator[list[Outcome]]:
    """Call Predict all the time while the block runs; yields the answers so far."""
    stop = threading.Event()
    answers: list[Outcome] = []

    def load() -> None:
        client = Client(server.grpc_port, server.rest_port)
        while not stop.wait(0.005):
            answers.append(client.predict(model))
        client.close()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def test_a_swap_loads_the_new_version_before_it_drops_the_old(server: Server) -> None:
    """core/availability_preserving_policy.cc; measured: START, LOADING, both AVAILABLE, then UNLOADING, END."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three")
    server.client.reload(Model("swap", base_path, (1,)))
    answer = server.client.reload(Model("swap", base_path, (2,)))
    assert answer.code == "OK"
    assert answer.seconds < 0.3
    seen: list[dict[int, str]] = []
    until = time.monotonic() + PATIENCE
    while server.client.states("swap") != {1: "END", 2: "AVAILABLE"} and time.monotonic() < until:
        states = server.client.states("swap")
        if not seen or seen[-1] != states:
            seen.append(states)
    assert all("AVAILABLE" in states.values() for states in seen)


def test_clients_notice_nothing_of_swaps(server: Server) -> None:
    """Measured: {1} -> {1,2} -> {2} -> {2,3} -> {3} under load: 6884 calls, no error."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three", _3="half_plus_four")
    server.client.reload(Model("live", base_path, (1,)))
    with predicting(server, "live") as answers:
        for versions in ((1, 2), (2,), (2, 3), (3,)):
            assert server.client.reload(Model("live", base_path, versions)).code == "OK"
            wanted = {version: "AVAILABLE" if version in versions else "END" for version in range(1, max(versions) + 1)}
            eventually(functools.partial(server.client.states, "live"), wanted, PATIENCE)
    assert {answer.code for answer in answers} == {"OK"}
    assert len(answers) > 50


def test_requests_without_a_version_go_to_the_highest_available_one(server: Server) -> None:
    """Measured with {1..4} and {2,4}: a candidate is live the moment it is loaded."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three", _4="half_plus_four")
    server.client.reload(Model("high", base_path, (1, 2, 4)))
    eventually(lambda: server.client.states("high"), {1: "AVAILABLE", 2: "AVAILABLE", 4: "AVAILABLE"})
    assert server.client.predict("high").value == (4.5, 4)
    assert server.client.predict("high", version=1).value == (2.5, 1)
    server.client.reload(Model("high", base_path, (1, 2)))
    eventually(lambda: server.client.predict("high").value, (3.5, 2))
    missing = server.client.predict("high", version=4)
    assert (missing.code, missing.details) == ("NOT_FOUND", "Servable not found for request: Specific(high, 4)")


def test_replacing_the_only_version_by_a_bad_one_wedges_the_model(server: Server) -> None:
    """core/aspired_versions_manager.cc postpones what would re-aspire 1; the policy will not unload 1. Measured."""
    base_path = server.base_path(_1="half_plus_two", _3="half_plus_four")
    bad_version(base_path, 2)
    server.client.reload(Model("wedged", base_path, (1,)))
    assert server.client.reload(Model("wedged", base_path, (2,))).code == "OK"
    stuck = {1: "AVAILABLE", 2: "END:5"}
    eventually(lambda: server.client.states("wedged"), stuck)
    for versions in ((1,), (1, 3)):  # anything with 1 in it is postponed for ever
        assert server.client.reload(Model("wedged", base_path, versions)).code == "OK"
        stays(lambda: server.client.states("wedged"), stuck, UNCHANGED_SECONDS)
    mend(base_path, 2)
    assert server.client.reload(Model("wedged", base_path, (2,))).code == "OK"  # and 2 is never tried again
    stays(lambda: server.client.states("wedged"), stuck, UNCHANGED_SECONDS)
    assert server.client.predict("wedged").value == (2.5, 1)
    # Only a list with neither gets out.
    server.client.reload(Model("wedged", base_path, (3,)))
    eventually(lambda: server.client.states("wedged"), {1: "END", 2: "END:5", 3: "AVAILABLE"})
    server.client.reload(Model("wedged", base_path, (1, 3)))
    eventually(lambda: server.client.states("wedged").get(1), "AVAILABLE")


def test_growing_and_shrinking_gets_back_from_a_bad_version(server: Server) -> None:
    """Measured: {1} -> {1,2 bad} -> {1}, and after more than one poll {1,2} tries 2 again; 1 serves throughout."""
    base_path = server.base_path(_1="half_plus_two")
    one, both = Model("grown", base_path, (1,)), Model("grown", base_path, (1, 2))
    bad_version(base_path, 2)
    server.client.reload(one)
    server.client.reload(both)
    failed = {1: "AVAILABLE", 2: "END:5"}
    eventually(lambda: server.client.states("grown"), failed)

    mend(base_path, 2)
    server.client.reload(one)
    server.client.reload(both)  # too soon: the poll never saw the list without 2
    stays(lambda: server.client.states("grown"), failed, UNCHANGED_SECONDS)

    server.client.reload(one)
    time.sleep(1.4)  # more than one poll
    assert server.client.reload(both).code == "OK"
    assert server.client.states("grown") == failed  # the *old* failure, until the next poll
    assert eventually(lambda: server.client.states("grown")[2], "AVAILABLE") < SETTLED_SECONDS
    assert server.client.predict("grown").value == (3.5, 2)


def test_versions_stay_listed_for_ever(server: Server) -> None:
    """core/servable_state_monitor.cc; measured: 26 versions listed after 25 swaps."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_two", _3="half_plus_two")
    for version in (1, 2, 3):
        server.client.reload(Model("listed", base_path, (version,)))
        eventually(functools.partial(server.client.states, "listed"), functools.partial(_is_available, version))
    eventually(lambda: server.client.states("listed"), {1: "END", 2: "END", 3: "AVAILABLE"})
    assert list(server.client.versions("listed")) == [3, 2, 1]


def test_an_absent_version_takes_the_model_down(server: Server) -> None:
    """Measured: an existing name with only an absent version: OK in 1 ms, then the old version is unloaded."""
    model = server.model()
    server.client.reload(model)
    assert server.client.reload(Model(model.name, model.base_path, (9,))).code == "OK"
    eventually(lambda: server.client.states(model.name), {1: "END"}, SETTLED_SECONDS)


def test_an_empty_list_of_versions_takes_the_model_down(server: Server) -> None:
    """`specific {}` on a live model: OK, END after 0.7 s. Measured."""
    model = server.model()
    server.client.reload(model)
    assert server.client.reload(Model(model.name, model.base_path, ())).code == "OK"
    eventually(lambda: server.client.states(model.name), {1: "END"}, SETTLED_SECONDS)
    assert server.client.predict(model.name).code == "NOT_FOUND"


def test_a_vanished_version_directory_is_an_outage_and_its_return_a_reload(server: Server) -> None:
    """Measured: END in 0.6 s although it is the only version; loaded again in 1.2 s without any push."""
    model = Model("vanishing", server.base_path(_1="half_plus_two"), (1,))
    server.client.reload(model)
    away = model.base_path.with_name("away")
    (model.base_path / "1").rename(away)
    assert eventually(lambda: server.client.states("vanishing"), {1: "END"}) < SETTLED_SECONDS
    away.rename(model.base_path / "1")
    assert eventually(lambda: server.client.states("vanishing"), {1: "AVAILABLE"}) < SETTLED_SECONDS


def test_a_vanished_base_path_unloads_nothing_and_stops_discovery(server: Server) -> None:
    """sources/storage_path: the poll ends with an error before it reports anything. Measured."""
    model, other = server.model(), Model("bystander", server.base_path(_1="half_plus_two", _2="half_plus_three"), (1, 2))
    server.client.reload(model, other)
    eventually(lambda: server.client.states("bystander"), {1: "AVAILABLE", 2: "AVAILABLE"})
    away = model.base_path.with_name("base-away")
    model.base_path.rename(away)
    shutil.rmtree(other.base_path / "2")
    stays(lambda: server.client.states(model.name), {1: "AVAILABLE"}, UNCHANGED_SECONDS)
    assert server.client.states("bystander") == {1: "AVAILABLE", 2: "AVAILABLE"}
    away.rename(model.base_path)
    assert eventually(lambda: server.client.states("bystander"), {1: "AVAILABLE", 2: "END"}) < SETTLED_SECONDS


def test_new_files_under_a_loaded_number_are_not_looked_at(server: Server) -> None:
    """Name and number are all the identity there is: overwriting files, or moving base_path, loads nothing. Measured."""
    model = Model("same", server.base_path(_1="half_plus_two"), (1,))
    server.client.reload(model)
    mend(model.base_path, 1)  # replaced within less than a poll, in most runs
    moved = Model("same", server.base_path(_1="half_plus_four", _2="half_plus_three"), (1,))
    eventually(lambda: server.client.states("same"), {1: "AVAILABLE"})
    before = server.client.predict("same").value
    assert server.client.reload(moved).code == "OK"
    stays(lambda: server.client.predict("same").value, before, UNCHANGED_SECONDS)
    server.client.reload(Model("same", moved.base_path, (1, 2)))  # only new numbers come from there
    eventually(lambda: server.client.predict("same").value, (3.5, 2))


def test_latest_with_a_bad_newest_version(server: Server) -> None:
    """Measured: the old one serves on; removing the bad one or putting a good one under its number does not help."""
    base_path = server.base_path(_5="half_plus_two")
    server.client.reload(Model("latest", base_path))
    bad_version(base_path, 6)
    failed = {5: "AVAILABLE", 6: "END:5"}
    eventually(lambda: server.client.states("latest"), failed)
    shutil.rmtree(base_path / "6")
    stays(lambda: server.client.states("latest"), failed, UNCHANGED_SECONDS)
    savedmodels.place("half_plus_three", base_path / "6")
    stays(lambda: server.client.states("latest"), failed, UNCHANGED_SECONDS)
    savedmodels.place("half_plus_four", base_path / "7")
    eventually(lambda: server.client.states("latest"), {5: "END", 6: "END:5", 7: "AVAILABLE"})


def test_polling_interval_is_the_time_a_version_takes(start: Start) -> None:
    """Measured: 5.0 s at poll=5, whatever the load costs."""
    server = start(flags={"file_system_poll_wait_seconds": "2"})
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three")
    server.client.reload(Model("slow", base_path, (1,)))  # returns just after a poll
    server.client.reload(Model("slow", base_path, (1, 2)))
    assert 1.2 < eventually(lambda: server.client.states("slow").get(2), "AVAILABLE") < 2.0 + SETTLED_SECONDS
