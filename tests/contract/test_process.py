"""Flags, the boot file, start and end of the process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests import savedmodels
from tests.contract.client import Model, eventually, stays
from tests.contract.launch import Constraints
from tests.contract.server import Server, Start, base_path, free_ports, is_open

pytestmark = pytest.mark.contract


def test_an_empty_list_opens_the_ports_at_once(start: Start) -> None:
    """Measured: 0.3 s from the start of the process to both ports."""
    server = start(wait=False)
    assert server.wait_until_open() < 10.0
    assert server.client.reload().code == "OK"


def test_unknown_flags_are_dropped(start: Start) -> None:
    """Measured: `--flag value` is an unknown flag, too; the server starts."""
    server = start(raw=["--grpc_max_threads", "64", "--no_such_flag=1"])
    assert "unknown argument: --grpc_max_threads" in server.process.log
    assert server.client.reload().code == "OK"


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        pytest.param("model_config_list {}", {"grpc_max_threads": "many"}, "", id="bad flag value"),
        pytest.param("", {}, "; Invalid argument", id="zero-length file"),
        pytest.param("model_config_list { nonsense", {}, "Invalid protobuf file: '", id="bad syntax"),
    ],
)
def test_what_ends_the_server_at_once(start: Start, config: str, flags: dict[str, str], message: str) -> None:
    """Measured: exit code 255."""
    server = start(config, flags=flags, wait=False)
    assert server.process.exit_code() == 255
    assert message in server.process.log


def test_a_comment_is_a_configuration(start: Start) -> None:
    """Measured: up in 0.3 s, and a later reload works."""
    server = start("# nothing yet\n")
    assert server.client.reload(server.model()).code == "OK"


def test_a_bad_model_in_the_boot_file_ends_the_server(start: Start, directory: Path) -> None:
    """Measured with retries 0: exit code 255 after 1.3 s, although the other model is good."""
    good = Model("good", base_path(directory, _1="half_plus_two"))
    bad = Model("bad", base_path(directory, _1="half_plus_two"))
    savedmodels.spoil(bad.base_path / "1", "no saved_model.pb")
    server = start([good, bad], wait=False, directory=directory)
    assert server.process.exit_code() == 255
    assert "{name: bad version: 1} due to error: NOT_FOUND" in server.process.log


def test_retries_come_on_top_of_the_first_attempt(start: Start, directory: Path) -> None:
    """Measured: max_num_load_retries=2 makes 3 attempts, 1 s apart."""
    bad = Model("bad", base_path(directory, _1="half_plus_two"))
    savedmodels.spoil(bad.base_path / "1", "no saved_model.pb")
    flags = {"max_num_load_retries": "2", "load_retry_interval_micros": "1000000"}
    started = time.monotonic()
    server = start([bad], flags=flags, wait=False, directory=directory)
    assert server.process.exit_code() == 255
    assert time.monotonic() - started > 2.0
    assert server.process.log.count("Loading servable: {name: bad version: 1} failed") == 3


def test_the_boot_file_is_served_before_the_ports_open(start: Start, directory: Path) -> None:
    """model_servers/server.cc: listeners are built after the initial models are loaded."""
    models = [Model("a", base_path(directory, _1="half_plus_two")), Model("b", base_path(directory, _1="half_plus_three"))]
    server = start(models, directory=directory)
    assert server.client.predict("a").value == (2.5, 1)
    assert server.client.predict("b").value == (3.5, 1)


def test_a_single_model_by_flags(start: Start, directory: Path) -> None:
    """model_servers/server.cc: --model_name and --model_base_path, without a file."""
    path = base_path(directory, _1="half_plus_two", _2="half_plus_three")
    server = start(None, flags={"model_name": "solo", "model_base_path": str(path)}, directory=directory)
    assert server.client.predict("solo").value == (3.5, 2)


def test_what_keeps_the_ports_closed_for_ever(start: Start, directory: Path) -> None:
    """Measured for a missing base path: alive, no port. The source says the same of an empty one and `specific {}`."""
    good = base_path(directory, _1="half_plus_two")
    cases = {
        "missing": Model("m", directory / "missing"),
        "empty": Model("m", base_path(directory)),
        "specific {}": Model("m", good, ()),
    }
    servers = {}
    for case, model in cases.items():
        servers[case] = start([model], wait=False)
    eventually(lambda: "Could not find base path" in servers["missing"].process.log, True)
    stays(lambda: [is_open(s.grpc_port) or is_open(s.rest_port) for s in servers.values()], [False] * 3, 2.5)
    assert all(server.process.alive for server in servers.values())
    savedmodels.place("half_plus_two", directory / "missing" / "1")
    servers["missing"].wait_until_open()
    assert servers["missing"].client.predict("m").code == "OK"


def test_the_polled_file_undoes_what_came_by_rpc(start: Start, directory: Path) -> None:
    """Measured at 2 s: reverted; a zero-length file is ignored; an empty list in the file unloads all."""
    listed = Model("listed", base_path(directory, _1="half_plus_two"))
    server = start([listed], flags={"model_config_file_poll_wait_seconds": "1"}, directory=directory)
    pushed = server.model("pushed")
    server.client.reload(listed, pushed)
    eventually(lambda: server.client.states("pushed"), {1: "END"})
    assert server.client.predict("listed").code == "OK"
    file = directory / "models.config"
    file.write_text("")
    stays(lambda: server.client.states("listed"), {1: "AVAILABLE"}, 2.5)
    file.write_text("model_config_list {}")
    eventually(lambda: server.client.states("listed"), {1: "END"})


def test_a_rest_port_in_use(start: Start) -> None:
    """Measured: an error in the log, gRPC is up."""
    first = start()
    grpc_port = free_ports(1)[0]
    second = start(ports=(grpc_port, first.rest_port), wait=False)
    eventually(lambda: is_open(grpc_port), True)
    eventually(lambda: "Failed to start HTTP Server" in second.process.log, True)
    assert second.client.reload(second.model()).code == "OK"


def test_a_grpc_port_in_use_is_shared(start: Start) -> None:
    """Measured with gRPC 1.51: both start, and connections are split between them without a word."""
    first = start()
    rest_port = free_ports(1)[0]
    second = start(ports=(first.grpc_port, rest_port), wait=False)
    eventually(lambda: is_open(rest_port), True)
    assert second.process.alive
    assert first.process.alive


def test_profiler_is_on_unless_turned_off(start: Start, server: Server) -> None:
    """model_servers/server.cc. Measured: the log line."""
    assert "Profiler service is enabled" in server.process.log
    assert "Profiler service is enabled" not in start(flags={"enable_profiler": "false"}).process.log


def test_clients_reconnect_when_connections_age(start: Start) -> None:
    """Measured: grpc.max_connection_age_ms=2000 under constant load: 317 calls, no error."""
    server = start(flags={"grpc_channel_arguments": "grpc.max_connection_age_ms=1000"})
    model = server.model()
    server.client.reload(model)
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        assert server.client.predict(model.name).code == "OK"
        time.sleep(0.02)


def test_sigterm_kills_an_ordinary_process(start: Start) -> None:
    """No handler is installed. Measured: dies at once, of signal 15. (In a container the server is PID 1: see below.)"""
    server = start()
    if server.process.is_pid_1:
        pytest.skip("in a container the server is always PID 1")
    server.process.signal(signal.SIGTERM)
    assert server.process.exit_code(5.0) == 128 + 15


def test_sigterm_is_ignored_as_pid_1(start: Start) -> None:
    """The kernel drops a signal without handler for PID 1. Measured: still serves and reloads 3 s later."""
    server = start(constraints=Constraints(as_pid_1=True))
    model = server.model()
    server.client.reload(model)
    server.process.signal(signal.SIGTERM)
    stays(lambda: server.client.predict(model.name).code, "OK", 2.0)
    assert server.client.reload(model, server.model()).code == "OK"


def test_a_thread_limit_ends_the_server_at_its_first_load(start: Start) -> None:
    """servables/tensorflow/util.cc starts 256 threads per directory. Measured with a limit of 60: boots, then SIGABRT."""
    server = start(constraints=Constraints(as_user=True, max_threads=60))
    server.client.reload(server.model(), timeout=10)
    # The kernel drops SIGABRT for PID 1; abort() then runs an instruction that isn't allowed.
    assert server.process.exit_code() == 128 + (11 if server.process.is_pid_1 else 6)


def test_loading_needs_hundreds_of_threads_for_a_moment(start: Start) -> None:
    """Measured: 29 threads idle, 285 at the peak of a 20 ms load; a limit of 400 is enough."""
    server = start(constraints=Constraints(as_user=True, max_threads=400))
    assert server.client.reload(server.model()).code == "OK"
