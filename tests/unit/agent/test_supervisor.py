from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"


@pytest.fixture
def supervised(tmp_path, request):
    """A supervisor of a process that writes its id into a file and sleeps; first, it does what the test says."""
    note, first = tmp_path / "pids", getattr(request, "param", "pass")
    supervise = f"sys.exit(supervisor.supervise([sys.executable, '-c', {CHILD!r}, {str(note)!r}]))"
    program = f"import sys; from tfmodel_agent import supervisor; {first}; {supervise}"
    environment = os.environ | {"PYTHONPATH": "operator"}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE)
    yield process, note
    process.kill()
    process.wait()


def pids(note, count):
    deadline = time.monotonic() + 20
    while True:
        found = [int(line) for line in note.read_text().split()] if note.exists() else []
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_a_child_that_dies_is_started_again_and_sigterm_ends_both(supervised):
    process, note = supervised
    first = pids(note, 1)[0]
    os.kill(first, signal.SIGKILL)
    second = pids(note, 2)[1]
    assert second != first
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    assert not Path(f"/proc/{second}").exists()


@pytest.mark.parametrize("supervised", ["supervisor.FIRST_PAUSE_SECONDS = supervisor.LONGEST_PAUSE_SECONDS = 60"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_it_waits_to_start_its_child_again(supervised, number):
    process, note = supervised
    os.kill(pids(note, 1)[0], signal.SIGKILL)
    assert b"started again" in process.stdout.readline()
    process.send_signal(number)
    assert process.wait(timeout=10) == 0
