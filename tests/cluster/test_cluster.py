"""The embedded cluster itself: it starts, it is a real one, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import ComponentFailed, EmbeddedCluster, base_image, binaries, images, pins, prerequisites
from tests.cluster.errors import ClusterError, CommandFailed, WaitTimeout
from tests.cluster.process import Process
from tests.cluster.state import State

BASE = "docker.io/tfmodel/base:test"
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "greeting", "namespace": "default"},
              "data": {"text": "hello"}}


@pytest.fixture(scope="module")
def api() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def node() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(nodes="kubelet") as cluster:
        cluster.load_image(base_image(), BASE)
        cluster.apply(server_pod(), SERVICE)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
        yield cluster


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
           "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}


def server_pod() -> dict[str, object]:
    """A web server with a native sidecar; it answers with the name of its pod, and logs each request."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    web = {"name": "web", "image": BASE, "imagePullPolicy": "IfNotPresent", "securityContext": security,
           "command": ["python3", "-u", "-m", "http.server", "--directory", "/etc", "8080"],
           "readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}}
    sidecar = {"name": "sidecar", "image": BASE, "restartPolicy": "Always", "securityContext": security,
               "command": ["python3", "-u", "-m", "http.server", "8081"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "server", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"shareProcessNamespace": True, "terminationGracePeriodSeconds": 5,
                     "initContainers": [sidecar], "containers": [web],
                     "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}}}


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode().strip())


@pytest.mark.api
def test_objects_can_be_applied(api: EmbeddedCluster) -> None:
    api.apply(CONFIG_MAP)
    assert api.get("configmap", "greeting")["data"] == {"text": "hello"}


@pytest.mark.api
def test_controllers_work(api: EmbeddedCluster) -> None:
    api.kubectl("create", "deployment", "nothing", "--image=nothing")
    api.wait_for("the ReplicaSet's pod", lambda: api.get("pods", "-l", "app=nothing")["items"])
    api.kubectl("delete", "deployment", "nothing")
    api.wait_for("garbage collection", lambda: api.get("pods", "-l", "app=nothing")["items"], done=lambda pods: not pods)


@pytest.mark.api
def test_kubectl_errors_carry_what_the_api_server_said(api: EmbeddedCluster) -> None:
    with pytest.raises(CommandFailed, match=r'configmaps "absent" not found'):
        api.kubectl("get", "configmap", "absent")


@pytest.mark.api
def test_waiting_in_vain_tells_the_last_value(api: EmbeddedCluster) -> None:
    with pytest.raises(WaitTimeout, match=r"waited 0 s for the impossible; last seen: \['almost'\]"):
        api.wait_for("the impossible", lambda: ["almost"], timeout=0.1, done=lambda _: False)


@pytest.mark.api
def test_clusters_run_side_by_side(api: EmbeddedCluster) -> None:
    with EmbeddedCluster(controllers=False) as other:
        other.kubectl("create", "namespace", "elsewhere")
        assert "elsewhere" not in api.kubectl("get", "namespaces")


@pytest.mark.api
def test_the_api_server_can_fail_and_come_back(api: EmbeddedCluster) -> None:
    api.apply(CONFIG_MAP)
    api.components.kill("kube-apiserver")
    with pytest.raises(ComponentFailed, match=r"(?s)^kube-apiserver died; its log is .*\.log, which ends with:\n    \w"):
        api.check()
    api.restart("kube-apiserver")
    assert api.get("configmap", "greeting")["data"] == {"text": "hello"}


@pytest.mark.api
def test_a_component_that_cannot_start_is_named_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "etcd"
    broken.write_text("#!/bin/sh\necho 'no space left for etcd' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("tests.cluster.binaries.etcd", lambda: str(broken))
    cluster = EmbeddedCluster(name=f"broken-{os.getpid()}")
    with pytest.raises(ComponentFailed, match=r"(?s)etcd died; its log is .*etcd\.log.*no space left for etcd"):
        cluster.start()
    assert cluster.leftovers() == []
    assert "no space left" in (cluster.logs_dir / "etcd.log").read_text()
    cluster.stop(keep_logs=False)
    assert not cluster.directory.exists()


@pytest.mark.api
def test_requests_are_audited_when_asked_for() -> None:
    with EmbeddedCluster(controllers=False, audit=True) as cluster:
        cluster.apply(CONFIG_MAP)
        assert '"verb":"patch"' in cluster.audit_log.read_text()


@pytest.mark.api
def test_fake_nodes_run_pods() -> None:
    with EmbeddedCluster(nodes="kwok", node_count=2) as cluster:
        cluster.set_extended_resource("nvidia.com/gpu", 4)
        cluster.kubectl("create", "deployment", "fake", "--image=fake", "--replicas=20")
        cluster.kubectl("wait", "--for=condition=Available", "deployment/fake", "--timeout=60s")


@pytest.mark.node
def test_a_service_answers_this_machine_and_pods(node: EmbeddedCluster) -> None:
    address = node.get("service", "web")["spec"]["clusterIP"]
    node.wait_for("the service to answer this machine", lambda: fetch(f"http://{address}/hostname") == "server")
    # From the pod behind it, which is the hardest case: the packet leaves the pod and comes back to it.
    said = node.kubectl("exec", "server", "-c", "web", "--", "python3", "-c",
                        f"import urllib.request; print(urllib.request.urlopen('http://{address}/hostname', timeout=5).read())")
    assert "server" in said


@pytest.mark.node
def test_pods_answer_this_machine_and_reach_it(node: EmbeddedCluster) -> None:
    address = node.get("pod", "server")["status"]["podIP"]
    assert fetch(f"http://{address}:8080/hostname") == "server"
    code = f"import socket; print('refused' if socket.socket().connect_ex(('{node.host_ip}', 1)) == 111 else 'unreachable')"
    assert node.kubectl("exec", "server", "-c", "web", "--", "python3", "-c", code).strip() == "refused"


@pytest.mark.node
def test_pods_reach_the_api_server_by_its_service(node: EmbeddedCluster) -> None:
    code = ("import os,ssl,urllib.request as r; d='/var/run/secrets/kubernetes.io/serviceaccount/'; "
            "q=r.Request('https://%s/version'%os.environ['KUBERNETES_SERVICE_HOST']); "
            "q.add_header('Authorization','Bearer '+open(d+'token').read()); "
            "print(r.urlopen(q,timeout=5,context=ssl.create_default_context(cafile=d+'ca.crt')).read().decode())")
    assert pins.KUBERNETES in node.kubectl("exec", "server", "-c", "web", "--", "python3", "-c", code)


@pytest.mark.node
def test_logs_exec_and_port_forward_work(node: EmbeddedCluster) -> None:
    node.wait_for("the log", lambda: "GET /hostname" in node.kubectl("logs", "server", "-c", "web"))
    # The pod's processes share one process namespace: the sidecar sees the server's.
    assert "--directory" in node.kubectl("exec", "server", "-c", "sidecar", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    kubectl = subprocess.Popen([str(binaries.kubernetes_command("kubectl")), "port-forward", "pod/server", ":8080"], text=True,
                               env={**os.environ, **node.environment()}, stdout=subprocess.PIPE)
    try:
        assert kubectl.stdout is not None
        port = kubectl.stdout.readline().split()[2].rpartition(":")[2]
        assert fetch(f"http://127.0.0.1:{port}/hostname") == "server"
    finally:
        kubectl.kill()
        kubectl.communicate()


@pytest.mark.node
def test_a_node_advertises_devices_it_has_not_got(node: EmbeddedCluster) -> None:
    node.set_extended_resource("nvidia.com/gpu", 2)
    assert node.get("node", node.node_name)["status"]["capacity"]["nvidia.com/gpu"] == "2"


@pytest.mark.node
def test_nothing_is_left_after_stop() -> None:
    cluster = EmbeddedCluster(nodes="kubelet", name=f"stopped-{os.getpid()}").start()
    try:
        cluster.load_image(base_image(), BASE)
        cluster.apply(server_pod(), SERVICE)
        cluster.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
        inside = namespaces(cluster)
        kinds = {line.split()[0] for line in cluster.leftovers()}
        assert kinds == {"process", "cgroup", "link", "route"}, "the check sees what a running cluster has"
        other = EmbeddedCluster.attach(cluster.name)
    finally:
        EmbeddedCluster(name=cluster.name).stop(keep_logs=False)
    assert other.leftovers() == cluster.leftovers() == []
    assert not [pid for pid, theirs in all_namespaces() if inside & theirs]
    assert not cluster.directory.exists()
    with pytest.raises(ClusterError, match="no cluster named"):
        EmbeddedCluster.attach(cluster.name)


@pytest.mark.node
def test_a_bound_cluster_ends_with_its_process_even_when_that_is_killed() -> None:
    script = ("import time; from tests.cluster import EmbeddedCluster\n"
              "with EmbeddedCluster(nodes='kubelet') as c: print(c.name, flush=True); time.sleep(600)")
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert owner.stdout is not None
    name = owner.stdout.readline().strip()
    cluster = EmbeddedCluster.attach(name)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    deadline = time.monotonic() + 10
    while cluster.state.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not cluster.state.running()
    with EmbeddedCluster(controllers=False):  # Any next start sweeps up what no process can: cgroups and files.
        pass
    assert cluster.leftovers() == []
    assert not cluster.directory.exists()


@pytest.mark.api
def test_a_half_started_cluster_is_cleaned_up_by_the_next_start() -> None:
    name = f"half-{os.getpid()}"
    starter = subprocess.Popen([sys.executable, "-m", "tests.cluster", "up", "--nodes", "none", "--name", name],
                               cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    half = EmbeddedCluster(name=name)
    while (state := State.load(half.directory)) is None or "kube-apiserver" not in state.components:
        assert starter.poll() is None
        time.sleep(0.02)
    starter.kill()
    starter.wait()
    assert state.running(), "it does not end with its starter: `up` makes clusters that go on"
    with EmbeddedCluster(controllers=False):
        assert not state.running()
        assert not half.directory.exists()


@pytest.mark.api
def test_a_process_is_known_by_its_start_time_too() -> None:
    me = Process.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not Process(me.pid, me.started + 1).alive()


@pytest.mark.api
def test_each_missing_prerequisite_is_one_line_naming_the_package() -> None:
    known = [prerequisites.Package("left-pad", "left-pad-command", ("api",)),
             prerequisites.Package("util-linux", "nsenter", ("api",)),
             prerequisites.Package("right-pad", "/nowhere/right-pad", ("kubelet",))]
    lacking = prerequisites.missing(["api"], known=known, version_of_go=lambda: (1, 19), user=0)
    assert lacking[0].line == "missing: left-pad-command (install the Debian package left-pad)"
    assert [each.package for each in lacking] == ["left-pad", None]
    assert lacking[1].line.startswith("missing: Go 1.24 or newer (1.19 found; install the Debian package golang-go")


@pytest.mark.api
def test_versions_are_pinned_in_one_place() -> None:
    assert f"k8s.io/kubernetes {pins.KUBERNETES}\n" in (Path(__file__).parent / "kubernetes" / "go.mod").read_text()


@pytest.mark.api
def test_an_image_is_keyed_by_the_files_its_dockerfile_copies(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "__pycache__").mkdir()
    for name in ("src/a.py", "src/__pycache__/a.pyc", "lock.txt", "README.md"):
        (tmp_path / name).write_text(name)
    dockerfile = ("ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS build\nCOPY lock.txt \\\n  /lock.txt\n"
                  "RUN --mount=type=bind,source=src,target=/src true\nFROM build\nCOPY --from=build /README.md /\n"
                  'COPY --chown=1:1 ["./src", "/app/"]\n')
    copied = [str(path.relative_to(tmp_path)) for path in images._copied(dockerfile, tmp_path)]
    assert copied == ["lock.txt", "src/a.py"]


def namespaces(cluster: EmbeddedCluster) -> set[str]:
    """Return the namespaces of a cluster's holder, as links under /proc name them."""
    holder = cluster.components.sandbox.holder
    assert holder is not None
    return {str(Path(f"/proc/{holder.pid}/ns/{kind}").readlink()) for kind in ("pid", "mnt", "net")}


def all_namespaces() -> Iterator[tuple[str, set[str]]]:
    """Yield each process of this machine with its namespaces."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            yield directory.name, {str((directory / "ns" / kind).readlink()) for kind in ("pid", "mnt", "net")}
        except OSError:
            continue
