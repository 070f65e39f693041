"""The benchmark of the operator works, and says what it promises to say; how fast anything is, isn't tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.bench.operator.processes import ROOT

KEYS = {
    "n", "runs", "reference_apply_ms", "ready_seconds", "requests_per_model", "requests_by_verb", "cpu_ms_per_model", "rss_mb",
    "idle_writes", "idle_cpu_percent", "update_config_seconds", "update_config_requests_per_model", "restart_seconds",
    "restart_writes", "restart_cpu_seconds",
}  # fmt: skip


@pytest.mark.api
def test_a_small_run_prints_its_figures() -> None:
    phases = ["apply", "idle", "update-config", "restart"]
    said = bench("--models", "5", "--idle-seconds", "2", "--timeout", "60", "--profile", "--phases", *phases)
    figures = json.loads(said.stdout.splitlines()[-1])
    assert figures.keys() >= KEYS
    # Every child of every TFModel is written at least once; at rest and after a restart there is nothing to write.
    assert figures["n"] == 5
    assert figures["requests_per_model"] >= 4
    assert sum(figures["requests_by_verb"].values()) == figures["requests_per_model"] * 5
    assert figures["idle_writes"] == figures["restart_writes"] == 0
    assert all(f"profile of {phase}:" in said.stderr for phase in phases)


@pytest.mark.api
def test_a_start_with_stored_models_prints_its_figures() -> None:
    said = bench("--models", "50", "--stored", "--timeout", "60")
    figures = json.loads(said.stdout.splitlines()[-1])
    assert figures.keys() >= {"n", "synced_seconds", "synced_cpu_seconds", "synced_rss_mb"}


@pytest.mark.api
def test_shared_servers_print_their_figures() -> None:
    said = bench("--models", "6", "--servers", "2", "--members", "2", module="tests.bench.operator.shared")
    figures = json.loads(said.stdout.splitlines()[-1])
    assert figures.keys() >= {"join_requests", "join_seconds", "agent_ms_per_model", "ready_seconds", "requests_per_model"}
    # A new member is a write of the ConfigMap, its Service, its status, and its label on the pod, at least.
    assert figures["join_requests"] >= 4


@pytest.mark.api
def test_a_small_run_of_rollouts_prints_its_figures() -> None:
    said = bench("--models", "3", "--samples", "1", "--timeout", "60", module="tests.bench.rollout")
    figures = json.loads(said.stdout.splitlines()[-1])
    assert figures.keys() >= {"drop_p50_seconds", "edit_p50_seconds", "n", "upgrade_seconds", "requests_per_model", "pods_created"}
    assert (figures["n"], figures["pods_created"]) == (3, 0)


def bench(*arguments: str, module: str = "tests.bench.operator") -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, cwd=ROOT,
                          env=os.environ | {"PYTHONPATH": str(ROOT / "operator")}, timeout=200)
    assert done.returncode == 0, done.stderr
    return done
