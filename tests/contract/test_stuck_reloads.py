"""Reloads that never return, and what they do to everything else."""

from __future__ import annotations

import shutil
import time

import grpc
import pytest

from tests import savedmodels
from tests.contract.client import SETTLED_SECONDS, UNCHANGED_SECONDS, Model, eventually, stays
from tests.contract.launch import Constraints
from tests.contract.server import Server, Start

pytestmark = pytest.mark.contract


def abandon(server: Server, *models: Model) -> None:
    """Send a reload that cannot end, and give it up."""
    server.client.status("any")  # so that the call is on its way at once, and not waiting for a connection
    call = server.client.reload_later(*models, timeout=0.7)
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_missing_base_path_blocks_reloads_and_discovery_but_not_serving(start: Start) -> None:
    """core/servable_state_monitor.h waits without time-out; sources/storage_path: one error ends the poll. Measured."""
    server = start()
    a = Model("a", server.base_path(_1="half_plus_two", _2="half_plus_three"), (1, 2))
    b = server.model("b")
    nope = Model("nope", server.directory / "nope")
    server.client.reload(a)
    eventually(lambda: server.client.states("a"), {1: "AVAILABLE", 2: "AVAILABLE"})

    abandon(server, a, nope)
    assert server.client.status("nope").code == "NOT_FOUND"
    abandon(server, a, b)  # neither deadline nor cancellation freed the lock
    abandon(server, a)
    shutil.rmtree(a.base_path / "2")
    stays(lambda: server.client.states("a"), {1: "AVAILABLE", 2: "AVAILABLE"}, UNCHANGED_SECONDS)
    assert server.client.predict("a").value == (3.5, 2)
    assert server.client.rest("/v1/models/a:predict", {"instances": [1.0]}) == (200, {"predictions": [3.5]})
    eventually(lambda: f"Could not find base path {nope.base_path}" in server.process.log, True)

    # The path appears: the stuck reload ends, then the abandoned ones are executed, in the order they arrived.
    savedmodels.place("half_plus_two", nope.base_path / "1")
    assert eventually(lambda: server.client.states("a"), {1: "AVAILABLE", 2: "END"}) < SETTLED_SECONDS
    eventually(lambda: server.client.states("nope"), {1: "END"})
    eventually(lambda: server.client.states("b"), {1: "END"})
    order = ["name: nope version: 1", "name: b version: 1"]
    last = f"Done unloading servable version {{{order[-1]}}}"
    eventually(lambda: last in server.process.log, True)  # a container's log comes through another process
    log = server.process.log
    loaded = [log.index(f"Successfully loaded servable version {{{servable}}}") for servable in order]
    unloaded = [log.index(f"Done unloading servable version {{{servable}}}") for servable in order]
    assert loaded[0] < unloaded[0] < unloaded[1]
    assert loaded[0] < loaded[1]
    assert server.client.reload(a).code == "OK"


def test_seven_abandoned_reloads_end_all_grpc_service_on_two_cpus(start: Start) -> None:
    """grpc_max_threads is 4 x CPUs, each stuck call holds one, one receives. Measured: 7 of 8; REST goes on."""
    server = start(flags={"grpc_max_threads": "8"})
    good, nope = server.model("good"), Model("nope", server.directory / "nope")
    server.client.reload(good)
    calls = [server.client.reload_later(good, nope, timeout=1.0) for _ in range(7)]
    assert all(call.code() is grpc.StatusCode.DEADLINE_EXCEEDED for call in calls)
    for answer in (server.client.predict("good"), server.client.status("good"), server.client.reload(good, timeout=2)):
        assert answer.code == "RESOURCE_EXHAUSTED", answer
    assert server.client.rest("/v1/models/good:predict", {"instances": [1.0]})[0] == 200
    assert server.client.rest("/v1/models/good")[1]["model_version_status"][0]["state"] == "AVAILABLE"
    assert server.client.rest("/v1/models/good/metadata")[0] == 200

    savedmodels.place("half_plus_two", nope.base_path / "1")
    eventually(lambda: server.client.predict("good").code, "OK")
    eventually(lambda: server.client.status("nope").code, "OK")


def test_more_threads_leave_room_for_others(start: Start) -> None:
    """Measured: with 64, Predict and GetModelStatus are fine beside 20 abandoned reloads."""
    server = start(flags={"grpc_max_threads": "64"})
    good, nope = server.model("good"), Model("nope", server.directory / "nope")
    server.client.reload(good)
    calls = [server.client.reload_later(good, nope, timeout=0.5) for _ in range(20)]
    assert all(call.code() is grpc.StatusCode.DEADLINE_EXCEEDED for call in calls)
    assert server.client.predict("good").code == "OK"
    assert server.client.status("good").code == "OK"


def test_an_empty_base_path_blocks_reloads_but_not_discovery(start: Start) -> None:
    """Measured; an absent `specific` version of a new name does the same."""
    server = start()
    a = Model("a", server.base_path(_1="half_plus_two", _2="half_plus_three"), (1, 2))
    server.client.reload(a)
    eventually(lambda: server.client.states("a"), {1: "AVAILABLE", 2: "AVAILABLE"})
    abandon(server, a, Model("empty", server.base_path()))
    abandon(server, a)
    shutil.rmtree(a.base_path / "2")
    assert eventually(lambda: server.client.states("a"), {1: "AVAILABLE", 2: "END"}) < SETTLED_SECONDS


def test_an_absent_version_of_a_new_name_blocks_reloads(start: Start) -> None:
    """Measured; as does `specific {}`."""
    server = start()
    a = server.model("a")
    server.client.reload(a)
    abandon(server, a, Model("absent", a.base_path, (9,)))
    abandon(server, a)
    eventually(lambda: "Version 9 of servable absent" in server.process.log, True)


def test_a_base_path_that_may_not_be_listed_is_like_a_missing_one(start: Start) -> None:
    """Measured with a non-root server and mode 700: the reload hangs, "Permission denied" in the log."""
    server = start(constraints=Constraints(as_user=True))
    open_model, closed = server.model("open"), server.model("closed")
    assert server.client.reload(open_model).code == "OK"
    closed.base_path.chmod(0o700)
    abandon(server, open_model, closed)
    assert server.client.status("closed").code == "NOT_FOUND"
    eventually(lambda: f"{closed.base_path}; Permission denied" in server.process.log, True)


def test_without_polling_a_new_name_is_never_found(start: Start) -> None:
    """file_system_poll_wait_seconds=0 polls once, at the start. Measured."""
    server = start(flags={"file_system_poll_wait_seconds": "0"})
    model = server.model()
    abandon(server, model)
    assert server.client.status(model.name).code == "NOT_FOUND"


def test_a_pipe_in_place_of_the_model_loads_for_ever(start: Start) -> None:
    """Measured: LOADING for ever. Two of them occupy two load threads: nothing loads any more, serving goes on."""
    server = start(flags={"num_load_threads": "2"})
    good = Model("good", server.base_path(_1="half_plus_two", _2="half_plus_two", _3="half_plus_two"), (1,))
    server.client.reload(good)
    for version in ("2", "3"):
        savedmodels.spoil(good.base_path / version, "saved_model.pb is a FIFO")
    pipes = Model("good", good.base_path, (1, 2, 3))
    assert server.client.reload(pipes).code == "OK"
    stuck = {1: "AVAILABLE", 2: "LOADING", 3: "LOADING"}
    eventually(lambda: server.client.states("good"), stuck)
    later = server.client.reload_later(pipes, server.model("later"), timeout=2.0)
    assert later.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.client.states("later") == {1: "START"}
    assert server.client.states("good") == stuck
    assert server.client.predict("good").code == "OK"


def test_no_load_threads_freeze_all_transitions(start: Start) -> None:
    """core/basic_manager.cc runs the load in the manager's loop. Measured: 7.8 s beside 3 attempts 3 s apart."""
    flags = {"num_load_threads": "0", "max_num_load_retries": "2", "load_retry_interval_micros": "1000000"}
    assert _seconds_beside_a_failing_version(start(flags=flags)) > 1.2


def test_one_load_thread_sleeps_between_retries(start: Start) -> None:
    """util/retrier.cc sleeps on the load thread. Measured: 8.2 s beside 3 attempts 3 s apart."""
    flags = {"num_load_threads": "1", "max_num_load_retries": "2", "load_retry_interval_micros": "1000000"}
    assert _seconds_beside_a_failing_version(start(flags=flags)) > 1.2


def test_two_load_threads_do_not_wait_for_one_failing_version(start: Start) -> None:
    """Measured: 0.7 s."""
    flags = {"num_load_threads": "2", "max_num_load_retries": "1", "load_retry_interval_micros": "5000000"}
    assert _seconds_beside_a_failing_version(start(flags=flags)) < SETTLED_SECONDS


def _seconds_beside_a_failing_version(server: Server) -> float:
    """Return how long a new name takes while a live one's new version is being retried."""
    a, dropped, added = server.model("a"), server.model("dropped"), server.model("added")
    server.client.reload(a, dropped)
    (a.base_path / "2").mkdir()
    grown = Model("a", a.base_path, (1, 2))
    server.client.reload(grown, dropped)
    eventually(lambda: server.client.states("a"), {1: "AVAILABLE", 2: "LOADING"})
    answer = server.client.reload(grown, added)
    assert answer.code == "OK"
    assert server.client.predict("a").code == "OK"
    return answer.seconds


def test_an_unreadable_size_stops_the_manager(start: Start) -> None:
    """core/basic_manager.cc retries the estimate with its mutex held. Measured: 5.5 s beside retries of 2 x 3 s."""
    server = start(flags={"max_num_load_retries": "2", "load_retry_interval_micros": "1000000"})
    a = server.model("a")
    server.client.reload(a)
    (a.base_path / "7").write_text("not a directory")
    server.client.reload(Model("a", a.base_path, (1, 7)))
    eventually(lambda: server.client.states("a").get(7), "START")
    time.sleep(0.3)
    answer = server.client.reload(Model("a", a.base_path, (1, 7)), server.model("added"))
    assert answer.code == "OK"
    assert answer.seconds > 1.0
    status = server.client.status("a")
    assert status.seconds < 0.5
    failed = server.client.versions("a")[7]
    assert (failed.state, failed.code) == ("END", 9)
    assert failed.message.startswith("Error while attempting to reserve resources to load servable {name: a version: 7}")
    assert failed.message.endswith("Not a directory")
