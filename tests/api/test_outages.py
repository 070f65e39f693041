"""An API server that is away, a network that is silent, watches with gaps, and a leader that dies."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest
import yaml

from tests.api.conftest import Operator
from tests.api.proxy import Proxy
from tests.unit.operator.wire import until
from tfmodel_operator import handlers
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster.client import ApiClient
from tfmodel_operator.cluster.feed import Feed
from tfmodel_operator.cluster.rate_limit import RateLimit
from tfmodel_operator.cluster.reflector import Reflector
from tfmodel_operator.cluster.store import Store


@pytest.fixture(scope="module")
def cluster(bare):
    return bare


@pytest.fixture
def proxy(cluster):
    with Proxy(int(cluster.url.rsplit(":", 1)[1])) as made:
        yield made


@pytest.fixture
def through_proxy(cluster, proxy, namespace):
    """A kubeconfig whose API server is behind the proxy."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    for one in config["clusters"]:
        one["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    path = cluster.directory / f"{namespace}-proxy.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def start(cluster, namespace, kubeconfig=None, name=""):
    return Operator(cluster, "--namespace", namespace, "--lease", namespace, name=f"{namespace}{name}", kubeconfig=kubeconfig)


@pytest.fixture
def operator(cluster, namespace, through_proxy):
    running = start(cluster, namespace, through_proxy)
    cluster.wait_for("it to lead", lambda: running.says("Leading"))
    yield running
    assert running.stop() == 0, "it is the process that was started"
    assert "Traceback" not in running.log.read_text()


def made(cluster, namespace, name):
    cluster.wait_for(f"the Deployment of {name}", lambda: cluster.get("-n", namespace, "deployment", name))


def known(operator):
    """Return the TFModels the operator knows of, from its metrics."""
    lines = operator.get("/metrics")[1].splitlines()
    return {line.split('tfmodel="')[1].split('"')[0] for line in lines if line.startswith("tfmodel_info{")}


def test_an_api_server_that_is_away_is_waited_for(cluster, tfmodel, namespace, operator):
    cluster.apply(tfmodel("before"))
    made(cluster, namespace, "before")
    cluster.components.kill("kube-apiserver")
    cluster.wait_for("it to notice", lambda: operator.says("Can't watch; will try until it works"))
    deadline = time.monotonic() + 12  # longer than the lease can be kept without a word
    cluster_away = ("/livez", "/readyz")
    while time.monotonic() < deadline:
        assert [operator.get(path)[0] for path in cluster_away] == [200, 200], "a restart would not help"
        time.sleep(0.5)
    cluster.restart("kube-apiserver")
    back = time.monotonic()
    cluster.wait_for("the API server", lambda: cluster.apply(tfmodel("after")))
    cluster.kubectl("-n", namespace, "delete", "service/before")
    made(cluster, namespace, "after")
    cluster.wait_for("the Service", lambda: cluster.get("-n", namespace, "service", "before"))
    assert time.monotonic() - back < 60
    assert operator.process.poll() is None


def test_an_api_server_that_is_slow_is_worked_with(cluster, tfmodel, namespace, operator, proxy):
    proxy.slow(1.0)  # two seconds for an answer, and more for a new connection
    cluster.apply(*(tfmodel(f"slow-{number}") for number in range(5)))
    for number in range(5):
        made(cluster, namespace, f"slow-{number}")
        cluster.wait_for("its status", lambda n=number: cluster.get("-n", namespace, "tfmodel", f"slow-{n}")["status"].get("conditions"))
    assert (operator.process.poll(), operator.get("/livez")[0], operator.get("/readyz")[0]) == (None, 200, 200)
    proxy.slow(0.0)
    assert operator.says("A pass broke off by a bug; will try again") is None


def crowded(user):
    """What has the API server refuse with 429 all but a few of the requests that ``user`` makes at a time, as a crowded one does."""
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
    rule = {"subjects": [{"kind": "User", "user": {"name": user}}], "resourceRules": [everything]}
    limited = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}
    flow = {"matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "crowded"}, "rules": [rule]}
    api = "flowcontrol.apiserver.k8s.io/v1"
    return [
        {"apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": "crowded"}, "spec": {"type": "Limited", "limited": limited}},
        {"apiVersion": api, "kind": "FlowSchema", "metadata": {"name": "crowded"}, "spec": flow},
    ]


@pytest.fixture
def service_account(cluster, namespace):
    """A user that isn't exempt from priority and fairness, as administrators are: its name, and its kubeconfig."""
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "crowd")
    cluster.kubectl("create", "clusterrolebinding", namespace, "--clusterrole=cluster-admin", f"--serviceaccount={namespace}:crowd")
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    for one in config["users"]:
        one["user"] = {"token": cluster.kubectl("-n", namespace, "create", "token", "crowd").strip()}
    path = cluster.directory / f"{namespace}-crowd.kubeconfig"
    path.write_text(json.dumps(config))
    return f"system:serviceaccount:{namespace}:crowd", path


def test_an_api_server_that_refuses_most_for_the_crowd_gets_what_it_asks_for(cluster, tfmodel, namespace, service_account):
    user, kubeconfig = service_account
    cluster.apply(*crowded(user))
    running = start(cluster, namespace, kubeconfig)
    try:
        cluster.apply(*(tfmodel(f"crowd-{number}") for number in range(15)))
        for number in range(15):
            made(cluster, namespace, f"crowd-{number}")
        assert any('code="429"' in line for line in running.get("/metrics")[1].splitlines()), "else nothing was tried here"
        assert running.says("A pass broke off by a bug; will try again") is None
        assert running.process.poll() is None
    finally:
        running.stop()
        cluster.kubectl("delete", "flowschema/crowded", "prioritylevelconfiguration/crowded")


@pytest.mark.parametrize("others", [pytest.param(["other"], id="others stay"), pytest.param([], id="the only one")])
def test_a_deletion_in_a_gap_of_the_watch_is_noticed(cluster, tfmodel, namespace, operator, proxy, others):
    cluster.apply(tfmodel("gone"), *(tfmodel(other) for other in others))
    for name in ("gone", *others):
        made(cluster, namespace, name)
        cluster.wait_for("its status", lambda name=name: cluster.get("-n", namespace, "tfmodel", name)["status"].get("conditions"))
    assert known(operator) == {"gone", *others}
    proxy.cut()
    cluster.kubectl("-n", namespace, "delete", "tfmodel/gone")
    cluster.restart("kube-apiserver")  # it no longer has the history that tells of the deletion
    cluster.wait_for("the children to go", lambda: not names(cluster, namespace, "gone"))
    proxy.restore()
    cluster.wait_for("the reconnect", lambda: operator.says("Watching again"), timeout=30)
    cluster.wait_for("the ghost to go", lambda: known(operator) == set(others), timeout=10)
    assert not names(cluster, namespace, "gone"), "nothing was made for a TFModel that does not exist"


def names(cluster, namespace, server):
    selector = ("-l", f"serving.tfmodel.dev/server={server}")
    return [one["metadata"]["name"] for one in cluster.get("-n", namespace, "configmaps,services,deployments", *selector)["items"]]


def test_a_watch_through_a_network_that_has_gone_silent_is_taken_up_again(cluster, namespace, proxy, through_proxy, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(through_proxy))

    async def test():
        store = Store()
        client = ApiClient(lambda: handlers.login(settings=handlers.settings()), RateLimit(100, 100))
        reflector = Reflector(client, Feed(store, lambda key: None), kinds.CONFIG_MAP, namespace, inactivity_seconds=2)
        task = asyncio.create_task(reflector.run())
        await reflector.synced.wait()
        await asyncio.to_thread(proxy.freeze)
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "half-models", "namespace": namespace}}
        made["metadata"]["labels"] = {"serving.tfmodel.dev/server": "half"}
        await asyncio.to_thread(cluster.apply, made)
        async with asyncio.timeout(30):
            await until(lambda: store.find(made))
        task.cancel()
        await client.close()

    asyncio.run(test())


def test_another_replica_takes_over_from_one_that_is_killed(cluster, tfmodel, namespace):
    first = start(cluster, namespace, name="-first")
    cluster.wait_for("the first to lead", lambda: first.says("Leading"))
    second = start(cluster, namespace, name="-second")
    cluster.wait_for("the second to know all", lambda: second.get("/readyz"), done=lambda seen: seen[0] == 200)
    try:
        cluster.apply(tfmodel("before"))
        made(cluster, namespace, "before")
        assert (first.says("Applying") is not None, second.says("Applying")) == (True, None)
        first.stop(signal.SIGKILL)
        killed = time.monotonic()
        cluster.apply(tfmodel("after"))
        made(cluster, namespace, "after")
        assert time.monotonic() - killed < 20
        assert [line["objects"] for line in second.lines() if line["message"] == "Applying" and line["tfmodel"] == "before"] == []
        third = start(cluster, namespace, name="-third")
        cluster.wait_for("the third to know all", lambda: third.get("/readyz"), done=lambda seen: seen[0] == 200)
        assert second.stop() == 0
        cluster.wait_for("the third to lead", lambda: third.says("Leading"), timeout=5)
        assert third.stop() == 0
    finally:
        for one in (first, second):
            one.stop(signal.SIGKILL)


def test_a_replica_whose_lease_somebody_else_has_ends(cluster, namespace):
    running = start(cluster, namespace)
    cluster.wait_for("it to lead", lambda: running.says("Leading"))
    cluster.kubectl("-n", "default", "patch", "lease", namespace, "--type=merge", "-p", '{"spec": {"holderIdentity": "somebody-else"}}')
    assert running.process.wait(timeout=20) == 1
    assert running.says("Ending")["error"] == "the lease is held by somebody-else now"
