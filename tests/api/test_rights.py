"""The operator under the rights its chart gives it: they suffice, in the cluster and in namespaces."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import ROOT, Operator


@pytest.fixture(scope="module")
def cluster(bare):
    """One without the tier's other operator, which would do the work."""
    return bare


@pytest.fixture
def installed(cluster, namespace):
    """Render the chart's RBAC into the cluster; return a kubeconfig of its service account."""

    def install(*values):
        rendered = cluster.helm("template", namespace, str(ROOT / "charts/tfmodel-operator"), "--namespace", namespace, "-s", "templates/rbac.yaml", *values)
        cluster.kubectl("apply", "-f", "-", input=rendered)
        return cluster.service_account_kubeconfig(namespace, f"{namespace}-tfmodel-operator")

    return install


@pytest.mark.parametrize("scope", ["cluster", "one namespace", "two namespaces"])
def test_the_rights_suffice(cluster, tfmodel, namespace, installed, scope):
    second = f"{namespace}-second"
    cluster.kubectl("create", "namespace", second)
    watched = {"cluster": [], "one namespace": [namespace], "two namespaces": [namespace, second]}[scope]
    served = watched or [namespace, second]
    values = ["--set", f"namespaces={{{','.join(watched)}}}"] if watched else []
    arguments = [f"--namespace={one}" for one in watched]
    kubeconfig = installed(*values)
    running = Operator(cluster, *arguments, "--lease", f"{namespace}-tfmodel-operator", kubeconfig=kubeconfig, name=f"operator-{namespace}")
    try:
        for where in (namespace, second):
            model = tfmodel(server={"replicas": 2})
            model["metadata"]["namespace"] = where
            server = {**model, "kind": "TFModelServer", "metadata": {"name": "pool", "namespace": where}, "spec": {}}
            joined = tfmodel("joined", serverRef={"name": "pool"})
            joined["metadata"]["namespace"] = where
            cluster.apply(model, server, joined)
        for where in served:
            makes_heals_and_prunes(cluster, where)
        assert second in served or not cluster.get("-n", second, "deployments")["items"]
    finally:
        assert running.stop() == 0
    log = running.log.read_text()
    assert "forbidden" not in log.lower()
    assert "Traceback" not in log


def makes_heals_and_prunes(cluster, namespace):
    def status():
        return cluster.get("-n", namespace, "tfmodel", "half")["status"]

    cluster.wait_for("the operator to have seen it", status, done=lambda seen: seen["observedGeneration"] == 1)
    cluster.wait_for("the Deployment", lambda: cluster.get("-n", namespace, "deployment", "half"))
    cluster.kubectl("-n", namespace, "delete", "service", "half")
    cluster.wait_for("the Service to come back", lambda: cluster.get("-n", namespace, "service", "half"))
    assert cluster.get("-n", namespace, "poddisruptionbudgets")["items"]
    cluster.wait_for("the shared server", lambda: joined(cluster, namespace) == 1)
    cluster.wait_for("its Deployment", lambda: cluster.get("-n", namespace, "deployment", "pool"))
    reason = "PersistentVolumeClaim models does not exist"
    cluster.wait_for("the claim to be asked for", lambda: reason in json.dumps(cluster.get("-n", namespace, "tfmodel", "joined")["status"]))
    cluster.kubectl("-n", namespace, "scale", "tfmodel/half", "--replicas=1")
    cluster.wait_for("the budget to go", lambda: not cluster.get("-n", namespace, "poddisruptionbudgets")["items"])


def joined(cluster, namespace):
    return cluster.get("-n", namespace, "tfmodelserver", "pool")["status"].get("models", {}).get("joined")


def test_a_namespace_without_its_role_keeps_none_of_the_others(cluster, tfmodel, namespace, installed):
    second, gone = f"{namespace}-second", f"{namespace}-gone"
    cluster.kubectl("create", "namespace", second)
    cluster.kubectl("create", "namespace", gone)
    kubeconfig = installed("--set", f"namespaces={{{namespace},{second},{gone}}}")
    cluster.kubectl("delete", "namespace", gone)
    model = tfmodel()
    model["metadata"]["namespace"] = second
    arguments = [f"--namespace={one}" for one in (gone, second, namespace)]
    name = f"{namespace}-tfmodel-operator"
    first = Operator(cluster, *arguments, "--lease", name, kubeconfig=kubeconfig, name=f"first-{namespace}")
    try:
        cluster.apply(model)
        before = cluster.wait_for("the Deployment", lambda: cluster.get("-n", second, "deployment", "half"))["metadata"]
    finally:
        assert first.stop() == 0
    role = cluster.get("-n", second, "rolebinding", name)
    cluster.kubectl("-n", second, "delete", "rolebinding", name)
    again = Operator(cluster, *arguments, "--lease", name, kubeconfig=kubeconfig, name=f"again-{namespace}")
    try:
        cluster.apply(tfmodel())
        cluster.wait_for("the Deployment", lambda: cluster.get("-n", namespace, "deployment", "half"))
        code, said = again.get("/readyz")
        assert (code, gone in said, second in said) == (200, True, True)
        assert f'tfmodel_operator_namespace_refused{{namespace="{second}"}} 1.0' in again.get("/metrics")[1]
        assert second in {line.get("namespace") for line in again.lines() if line["message"].startswith("A namespace is kept")}
        cluster.kubectl("-n", second, "patch", "tfmodel", "half", "--type=merge", "-p", '{"spec": {"server": {"replicas": 2}}}')
        role["metadata"] = {key: role["metadata"][key] for key in ("name", "namespace", "labels")}
        cluster.apply(role)
        found = cluster.wait_for(
            "the change", lambda: cluster.get("-n", second, "deployment", "half"), done=lambda found: found["spec"]["replicas"] == 2, timeout=90
        )
        assert found["metadata"]["uid"] == before["uid"]
        cluster.wait_for("all to be known", lambda: again.get("/readyz"), done=lambda said: second not in said[1])
    finally:
        assert again.stop() == 0
    assert "Traceback" not in again.log.read_text()


def test_an_operator_that_restarts_writes_nothing_that_is_so_already(cluster, tfmodel, namespace):
    first = Operator(cluster, name=f"first-{namespace}")
    cluster.apply(tfmodel(server={"replicas": 2}))
    cluster.wait_for("the status", lambda: cluster.get("-n", namespace, "tfmodel", "half")["status"]["observedGeneration"] == 1)
    assert first.stop() == 0
    second = Operator(cluster, name=f"second-{namespace}")
    try:
        cluster.kubectl("-n", namespace, "scale", "tfmodel/half", "--replicas=3")
        cluster.wait_for("the change", lambda: cluster.get("-n", namespace, "deployment", "half")["spec"]["replicas"] == 3)
    finally:
        assert second.stop() == 0
    applied = [line for line in second.log.read_text().splitlines() if "Applying" in line and namespace in line]
    assert [json.loads(line)["objects"] for line in applied] == [["Deployment/half"]]
