"""`make demo` as a newcomer runs it, on both kinds of cluster."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cluster import EmbeddedCluster, binaries
from tests.demo import kube

ANSWERS = "[2.5, 3.0, 4.5]"


def demo(*arguments, **environment):
    """Run the demo's command; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", *arguments],
        cwd=kube.ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_the_demo_works_twice_and_leaves_nothing():
    name = "test-demo"
    try:
        for _ in range(2):
            code, printed = demo("up", "--name", name)
            assert code == 0, printed
            assert f"-> {ANSWERS}" in printed, "REST"
            assert f"-> y = {ANSWERS}" in printed, "gRPC"
            assert "model_config_list {" in printed
            rows = [line.split()[:5] for line in printed.splitlines()]
            assert ["half-plus-two", "True", "1", "1/1", "AsDesired"] in rows, printed
        assert EmbeddedCluster.attach(name).leftovers() != []
    finally:
        code, printed = demo("down", "--name", name)
    assert code == 0, printed
    assert EmbeddedCluster(name=name).leftovers() == []


def current(cluster):
    """The environment of a user whose kubeconfig points at ``cluster``."""
    tools = {binaries.kubernetes_command("kubectl").parent, binaries.helm().parent}
    return cluster.environment() | {"PATH": ":".join([*map(str, tools), os.environ["PATH"]])}


@pytest.mark.timeout(600)
def test_the_demo_runs_on_the_current_cluster(cluster):
    cluster.apply(kube.volume(cluster, "half-plus-two-files"))
    code, printed = demo("up", "--kube", "current", **current(cluster), IMAGE=kube.operator_image().reference)
    assert code == 0, printed
    assert f"-> {ANSWERS}" in printed
    assert f"-> y = {ANSWERS}" in printed
    cluster.kubectl("delete", "-f", str(kube.ROOT / "manifests/samples/half-plus-two.yaml"))


def test_the_current_cluster_wants_an_image(cluster):
    code, printed = demo("up", "--kube", "current", **current(cluster), IMAGE="")
    assert code == 1
    assert "IMAGE is not set" in printed
