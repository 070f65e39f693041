"""HandleReloadConfigRequest: what it waits for, what it answers, and what it leaves behind."""

from __future__ import annotations

import re
import time

import pytest

from tests.contract.client import SETTLED_SECONDS, UNCHANGED_SECONDS, Model, config_of, eventually, stays
from tests.contract.server import Server, Start
from tests.modelserver.protos import model_management_pb2

pytestmark = pytest.mark.contract


def test_adding_a_name_waits_until_it_is_loaded(server: Server) -> None:
    """Measured: OK after 0.4-1.35 s, mostly the wait for the next poll; then it answers at once."""
    server.client.reload(server.model())  # a process's first load reads all of TensorFlow from disk
    model = server.model()
    answer = server.client.reload(model)
    assert answer.code == "OK"
    assert server.client.states(model.name) == {1: "AVAILABLE"}
    assert server.client.predict(model.name).value == (2.5, 1)
    assert answer.seconds < SETTLED_SECONDS


def test_the_same_configuration_again_is_quick(server: Server) -> None:
    """Measured: OK in 1 ms."""
    model = server.model()
    server.client.reload(model)
    again = server.client.reload(model)
    assert again.code == "OK"
    assert again.seconds < 0.3


def test_dropping_a_name_answers_first_and_unloads_later(server: Server) -> None:
    """Measured: OK in 1 ms, END (code OK) 0.1-1 s later; the status stays for ever, REST says 200, /metadata 404."""
    model, kept = server.model(), server.model()
    server.client.reload(model, kept)
    dropped = server.client.reload(kept)
    assert dropped.code == "OK"
    assert dropped.seconds < 0.3
    assert eventually(lambda: server.client.states(model.name), {1: "END"}) < SETTLED_SECONDS
    gone = server.client.predict(model.name)
    assert (gone.code, gone.details) == ("NOT_FOUND", f"Servable not found for request: Latest({model.name})")
    assert server.client.rest(f"/v1/models/{model.name}")[0] == 200
    assert server.client.rest(f"/v1/models/{model.name}/metadata")[0] == 404
    assert server.client.states(kept.name) == {1: "AVAILABLE"}
    assert server.client.reload().code == "OK"
    eventually(lambda: server.client.states(kept.name), {1: "END"})


def test_many_names_in_one_reload(server: Server) -> None:
    """Measured: 19 names in 3.5 s; one load starts per 100 ms tick."""
    base_path = server.base_path(_1="half_plus_two")
    models = [Model(f"many{number}", base_path) for number in range(8)]
    assert server.client.reload(*models).code == "OK"
    assert all(server.client.states(model.name) == {1: "AVAILABLE"} for model in models)
    server.client.reload()


def test_a_request_without_a_model_config_list_is_refused_and_harmless(server: Server) -> None:
    """model_servers/model_service_impl.cc; measured."""
    answer = server.client.reload_raw(model_management_pb2.ReloadConfigRequest())
    assert answer.code == "INVALID_ARGUMENT"
    assert answer.details.startswith("ServerModelConfig type not supported by HandleReloadConfigRequest.")
    assert server.client.reload().code == "OK"


def test_a_reload_reports_how_much_metrics_grew(server: Server) -> None:
    """model_servers/model_service_impl.cc."""
    request = model_management_pb2.ReloadConfigRequest(config=config_of(), metric_names=["/no/such/metric"])
    answer = server.client.reload_raw(request)
    assert answer.code == "OK"
    assert [(metric.name, metric.int64_value_increase) for metric in answer.value.metric] == [("/no/such/metric", 0)]


def test_a_name_added_again_at_once_meets_the_end_of_its_previous_life(server: Server) -> None:
    """Measured: UNKNOWN without "due to error" in 20-30 ms; the model comes up all the same, 1-2 s later."""
    model = server.model()
    for _ in range(3):  # the manager's tick may just fit in between: then there is nothing to see
        server.client.reload(model)  # returns just after a poll, so that the next one is not in the way
        server.client.reload()
        answer = server.client.reload(model)
        if answer.code != "OK":
            break
    assert answer.code == "UNKNOWN"
    assert answer.details == f"1 model(s) did not become available: {{{{{{name: {model.name} version: 1}}}}, }}"
    assert answer.seconds < 0.5
    eventually(lambda: server.client.predict(model.name).value, (2.5, 1), 2 * SETTLED_SECONDS)


def test_a_name_added_again_after_its_end_was_seen_loads(server: Server) -> None:
    """Measured: a gap of 0.3 s after END is enough."""
    model = server.model()
    server.client.reload(model)
    server.client.reload()
    eventually(lambda: server.client.states(model.name), {1: "END"})
    time.sleep(0.3)
    assert server.client.reload(model).code == "OK"
    assert server.client.predict(model.name).value == (2.5, 1)


def test_pushes_within_one_poll_are_merged(server: Server) -> None:
    """Measured: {1,2} -> {1} -> {1,2} at once never unloads 2: the poll sees the last configuration only."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three")
    both, one = Model("merged", base_path, (1, 2)), Model("merged", base_path, (1,))
    server.client.reload(both)
    eventually(lambda: server.client.states("merged"), {1: "AVAILABLE", 2: "AVAILABLE"})
    # Right after a poll, which a change of state shows, there is nearly a second until the next.
    server.client.reload(one)
    server.client.reload(both)
    seen = set()
    until = time.monotonic() + SETTLED_SECONDS
    while time.monotonic() < until:
        seen.add(server.client.states("merged")[2])
        time.sleep(0.02)
    assert seen == {"AVAILABLE"}


def test_sending_a_failed_model_again_answers_ok_and_loads_nothing(server: Server) -> None:
    """Measured: OK in 1 ms, END with the error unchanged, also after the files were mended."""
    base_path = server.base_path(_1="half_plus_two")
    model = Model("failed", base_path)
    kept = (base_path / "1" / "saved_model.pb").read_bytes()
    (base_path / "1" / "saved_model.pb").unlink()
    assert server.client.reload(model).code == "UNKNOWN"
    assert server.client.states("failed") == {1: "END:5"}
    (base_path / "1" / "saved_model.pb").write_bytes(kept)
    again = server.client.reload(model)
    assert again.code == "OK"
    assert again.seconds < 0.3
    stays(lambda: server.client.states("failed"), {1: "END:5"}, UNCHANGED_SECONDS)
    # The way out: drop the name and add it again. Measured back to back; but a poll that falls between the second push
    # and the manager's next tick replaces the request to drop it, and then nothing ever happens, and the push never ends.
    assert server.client.reload().code == "OK"
    time.sleep(0.3)
    assert server.client.reload(model).code == "OK"
    assert server.client.states("failed") == {1: "AVAILABLE"}


def test_a_good_and_a_bad_version_under_a_new_name(server: Server) -> None:
    """core/servable_state_monitor.cc: the highest settled version decides. Measured: UNKNOWN, the good one serves."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three")
    (base_path / "2" / "saved_model.pb").unlink()
    answer = server.client.reload(Model("mixed", base_path, (1, 2)))
    assert answer.code == "UNKNOWN"
    assert "{name: mixed version: 2} due to error: NOT_FOUND" in answer.details
    eventually(lambda: server.client.states("mixed"), {1: "AVAILABLE", 2: "END:5"})


def test_a_slow_failure_holds_the_lock_for_its_whole_budget(start: Start) -> None:
    """Measured with a 5 s interval: UNKNOWN and the reload behind it both end after it; LOADING (code OK) meanwhile."""
    server = start(flags={"max_num_load_retries": "1", "load_retry_interval_micros": "2000000"})
    good, bad = server.model("good"), server.model("bad")
    (bad.base_path / "1" / "saved_model.pb").write_bytes(b"\xff" * 64)
    first = server.client.reload_later(good, bad)
    eventually(lambda: server.client.states("bad"), {1: "LOADING"})
    eventually(lambda: server.client.states("good"), {1: "AVAILABLE"})
    second = server.client.reload(good)
    answer = first.exception()
    assert answer.code().name == "UNKNOWN"
    assert re.fullmatch(
        r"1 model\(s\) did not become available: \{\{\{name: bad version: 1\} due to error: "
        r"[A-Z_]+: Can't parse .*/1/saved_model.pb as binary proto\}, \}",
        answer.details(),
    )
    assert second.code == "OK"
    assert second.seconds > 0.6
    # Growing a live name holds nothing, and shrinking it again cancels the retries.
    grown = Model("good", good.base_path, (1, 2))
    (good.base_path / "2").mkdir()
    assert server.client.reload(grown).seconds < 0.3
    eventually(lambda: server.client.states("good"), {1: "AVAILABLE", 2: "LOADING"})
    assert server.client.reload(Model("good", good.base_path, (1,))).seconds < 0.3
    assert eventually(lambda: server.client.states("good"), {1: "AVAILABLE", 2: "END:5"}) < 2.0 + SETTLED_SECONDS


def test_a_candidate_under_a_second_name(server: Server) -> None:
    """Measured: two names on one base path; one push drops the candidate and grows the real name."""
    base_path = server.base_path(_1="half_plus_two", _2="half_plus_three")
    server.client.reload(Model("ta", base_path, (1,)))
    server.client.reload(Model("ta", base_path, (1,)), Model("ta--candidate", base_path, (2,)))
    assert server.client.predict("ta").value == (2.5, 1)
    assert server.client.predict("ta--candidate").value == (3.5, 2)
    answer = server.client.reload(Model("ta", base_path, (1, 2)))
    assert answer.code == "OK"
    assert answer.seconds < 0.3
    eventually(lambda: server.client.states("ta"), {1: "AVAILABLE", 2: "AVAILABLE"}, SETTLED_SECONDS)
    assert server.client.states("ta--candidate") == {2: "END"}
    moved = server.client.reload(Model("ta", base_path, (2,), labels={"stable": 2}))
    assert moved.code == "OK"
    eventually(lambda: server.client.states("ta"), {1: "END", 2: "AVAILABLE"}, SETTLED_SECONDS)
    assert server.client.predict("ta", label="stable").value == (3.5, 2)
