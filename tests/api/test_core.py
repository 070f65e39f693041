"""What the operator asks of the API server, and what it leaves alone."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.api.audit import Requests
from tests.api.conftest import Operator

KINDS = "configmaps,services,deployments,poddisruptionbudgets,networkpolicies"
OURS = ("-l", "serving.tfmodel.dev/server")


@pytest.fixture(scope="module")
def cluster(bare):
    return bare


@pytest.fixture
def operator(cluster, namespace):
    running = Operator(cluster, "--namespace", namespace, "--lease", namespace, name=namespace)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log.read_text()


def children(cluster, namespace):
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in cluster.get("-n", namespace, KINDS, *OURS)["items"]}


def settled(cluster, namespace, *names):
    """Wait until the status of each TFModel is about its current generation; return the last."""

    def look():
        found = [cluster.get("-n", namespace, "tfmodel", name) for name in names]
        done = all(one["status"]["observedGeneration"] == one["metadata"]["generation"] for one in found)
        return found[-1] if done else None

    return cluster.wait_for(f"status of {', '.join(names)}", look)


def reason(found):
    return next(c["reason"] for c in found["status"]["conditions"] if c["type"] == "Ready")


@pytest.mark.usefixtures("operator")
def test_a_model_costs_one_dry_run_one_write_per_child_and_hardly_more(cluster, tfmodel, namespace):
    asked = Requests(cluster)
    names = [f"m{number}" for number in range(10)]
    cluster.apply(*(tfmodel(name) for name in names))
    settled(cluster, namespace, *names)
    made = children(cluster, namespace)
    count = Counter(line.rsplit(" ", 2)[0] for line in asked.text())
    dry_runs, status = count.pop("patch (dry run) deployments"), count.pop("patch tfmodels/status")
    assert dry_runs == len(names)
    assert status <= 3 * len(names)  # a busy machine has more to tell on the way
    lists = sum(count.pop(line) for line in list(count) if line.startswith("list "))
    assert lists < 3 * len(names)  # of strangers' names: by moment and kind, not by model
    assert all(line.startswith("patch ") for line in count), count
    assert count.total() == len(made)


def test_nothing_is_written_but_children_and_status_and_nothing_twice(cluster, tfmodel, namespace, operator):
    asked = Requests(cluster)
    cluster.apply(tfmodel())
    found = settled(cluster, namespace, "half")
    line = operator.says("Applying")
    assert (line["namespace"], line["tfmodel"], line["generation"], line["level"]) == (namespace, "half", 1, "INFO")
    assert "Deployment/half" in line["objects"]
    kinds = {"configmaps", "services", "deployments", "poddisruptionbudgets", "networkpolicies", "tfmodels/status", "events"}
    assert {line.removeprefix("patch (dry run) ").removeprefix("patch ").split(" ")[0] for line in asked.writes()} <= kinds
    assert not found["metadata"].get("finalizers")
    assert not found["metadata"].get("annotations")
    # A label on the TFModel makes the operator look at all of it again.
    later = Requests(cluster)
    cluster.kubectl("-n", namespace, "label", "tfmodel/half", "team=a")
    passes = passes_of(operator)
    cluster.wait_for("another pass", lambda: passes_of(operator) > passes)
    assert later.writes() == []


def passes_of(operator):
    lines = operator.get("/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tfmodel_operator_reconcile_total"))


@pytest.mark.usefixtures("operator")
def test_what_others_added_stays_and_is_not_fought_over(cluster, tfmodel, namespace):
    cluster.apply(tfmodel())
    settled(cluster, namespace, "half")
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": "mesh:1"}]}}}}
    cluster.kubectl("-n", namespace, "patch", "deployment/half", "--type=strategic", "-p", json.dumps(sidecar))
    cluster.kubectl("-n", namespace, "annotate", "service/half", "example.com/by=others")
    cluster.kubectl("-n", namespace, "scale", "tfmodel/half", "--replicas=3")
    cluster.wait_for("the operator's own change", lambda: children(cluster, namespace)["Deployment/half"]["spec"]["replicas"] == 3)
    found = children(cluster, namespace)
    names = [one["name"] for one in found["Deployment/half"]["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["mesh", "model-server"]
    assert found["Service/half"]["metadata"]["annotations"]["example.com/by"] == "others"


@pytest.mark.usefixtures("operator")
def test_what_others_took_over_by_force_is_taken_back(cluster, tfmodel, namespace):
    cluster.apply(tfmodel())
    settled(cluster, namespace, "half")
    container = {"name": "model-server", "image": "stolen"}
    theirs = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "half", "namespace": namespace},
              "spec": {"template": {"spec": {"containers": [container]}}}}  # fmt: skip
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=thief", "-f", "-", input=json.dumps(theirs))

    def image():
        made = children(cluster, namespace)["Deployment/half"]
        return made["spec"]["template"]["spec"]["containers"][0]["image"]

    cluster.wait_for("the image", image, done=lambda seen: seen != "stolen", timeout=30)


@pytest.mark.usefixtures("operator")
def test_a_child_that_lost_or_changed_its_marks_gets_them_back(cluster, tfmodel, namespace):
    cluster.apply(tfmodel(), tfmodel("other"))
    settled(cluster, namespace, "half", "other")
    whole = marks(cluster, namespace)
    cluster.kubectl("-n", namespace, "label", "--overwrite", "configmap/half-models", "serving.tfmodel.dev/server=other")
    cluster.kubectl("-n", namespace, "label", "deployment/half", "app.kubernetes.io/name-")
    cluster.kubectl("-n", namespace, "patch", "service/half", "--type=json", "-p", '[{"op": "remove", "path": "/metadata/ownerReferences"}]')
    cluster.wait_for("the marks", lambda: marks(cluster, namespace) == whole, timeout=30)


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(("child", "value"), [("configmap/half-models", "-"), ("service/half-headless", "-"), ("deployment/half", "-"), ("deployment/half", "=")])
def test_a_child_that_lost_the_label_we_watch_it_by_gets_it_back(cluster, tfmodel, namespace, child, value):
    cluster.apply(tfmodel())
    settled(cluster, namespace, "half")
    whole = marks(cluster, namespace)
    cluster.kubectl("-n", namespace, "label", child, "--overwrite", f"serving.tfmodel.dev/server{value}")
    cluster.wait_for("the label", lambda: marks(cluster, namespace) == whole, timeout=30)
    assert reason(cluster.get("-n", namespace, "tfmodel", "half")) != "NameConflict"


def marks(cluster, namespace):
    return {name: [one["metadata"].get(part) for part in ("uid", "labels", "ownerReferences")] for name, one in children(cluster, namespace).items()}


@pytest.mark.usefixtures("operator")
def test_what_is_ours_and_not_wanted_any_more_is_deleted_and_only_that(cluster, tfmodel, namespace):
    cluster.apply(tfmodel())
    found = settled(cluster, namespace, "half")
    owner = {"apiVersion": found["apiVersion"], "kind": "TFModel", "name": "half", "uid": found["metadata"]["uid"], "controller": True}
    ours = {"namespace": namespace, "labels": {"serving.tfmodel.dev/server": "half"}}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**ours, "name": "labelled-only"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "owned-only", "ownerReferences": [owner]}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**ours, "name": "former", "ownerReferences": [owner]}},
    )

    def names():
        return {one["metadata"]["name"] for one in cluster.get("-n", namespace, "configmaps")["items"]}

    cluster.wait_for("the former child to go", lambda: "former" not in names())
    assert {"labelled-only", "owned-only", "half-models"} <= names()


@pytest.mark.usefixtures("operator")
def test_a_model_that_is_deleted_and_made_anew_at_once_has_its_own_children(cluster, tfmodel, namespace):
    for _ in range(3):
        cluster.apply(tfmodel())
        settled(cluster, namespace, "half")
        cluster.kubectl("-n", namespace, "delete", "tfmodel/half", "--wait=false")
    cluster.apply(tfmodel())
    found = cluster.get("-n", namespace, "tfmodel", "half")
    reasons = set()

    def owned():
        now = cluster.get("-n", namespace, "tfmodel", "half")
        reasons.add(reason(now) if now["status"].get("conditions") else "")
        owners = [one["metadata"]["ownerReferences"][0]["uid"] for one in children(cluster, namespace).values()]
        return len(owners) >= 3 and set(owners) == {found["metadata"]["uid"]} and now["status"]["observedGeneration"] == 1

    cluster.wait_for("its own children", owned)
    assert "NameConflict" not in reasons


def test_an_operator_that_is_killed_again_and_again_makes_everything_once(cluster, tfmodel, namespace):
    asked, names = Requests(cluster), [f"m{number}" for number in range(12)]

    def start():
        return Operator(cluster, "--namespace", namespace, "--lease", namespace, name=namespace, POD_UID="the-same-pod")

    running = start()
    cluster.wait_for("it to lead", lambda: running.says("Leading"))
    for name in names:
        cluster.apply(tfmodel(name))
        if name in names[1::2]:
            running.process.kill()  # wherever it is
            running.process.wait()
            running = start()
    settled(cluster, namespace, *names)
    assert running.stop() == 0
    created = [line for line in asked.writes() if line.endswith(" 201") and "(dry run)" not in line and "events" not in line]
    assert len(created) == len(set(created)) == len(children(cluster, namespace))
    assert not [line for line in asked.writes() if line.startswith("delete")]
    assert "Traceback" not in running.log.read_text()


def test_an_operator_that_is_stopped_leaves_nothing_half_done(cluster, tfmodel, namespace):
    running = Operator(cluster, "--namespace", namespace, "--lease", namespace, "--workers", "4", name=namespace)
    cluster.wait_for("it to lead", lambda: running.says("Leading"))
    names = [f"m{number}" for number in range(30)]
    cluster.apply(*(tfmodel(name) for name in names))
    cluster.wait_for("it to be at work", lambda: children(cluster, namespace))
    assert running.stop() == 0
    assert running.says("Operator stopped")
    assert cluster.get("lease", "-n", "default", namespace)["spec"]["holderIdentity"] == ""
    per_model = Counter(one["metadata"]["labels"]["serving.tfmodel.dev/server"] for one in children(cluster, namespace).values())
    assert len(set(per_model.values())) == 1, "every model has all of its children, or none"


def test_probes_and_metrics(cluster, tfmodel, namespace, operator):
    cluster.apply(tfmodel())
    settled(cluster, namespace, "half")
    assert cluster.wait_for("it to be ready", lambda: operator.get("/readyz"), done=lambda seen: seen[0] == 200) == (200, "ok\n")
    assert operator.get("/livez") == (200, "ok\n")
    lines = operator.get("/metrics")[1].splitlines()
    for start in (
        'tfmodel_operator_reconcile_total{result="done"} ',
        "tfmodel_operator_reconcile_duration_seconds_count ",
        "tfmodel_operator_queue_depth ",
        'tfmodel_operator_watch_last_event_age_seconds{resource="pods"} ',
        'tfmodel_operator_watch_last_event_age_seconds{resource="tfmodels"} ',
        'tfmodel_operator_api_requests_total{code="200",verb="watch"} ',
        "tfmodel_operator_leader 1",
        'tfmodel_operator_build_info{image="tfmodel-operator:test"} 1',
        f'tfmodel_info{{model_name="half",namespace="{namespace}"',
        f'tfmodel_status_condition{{namespace="{namespace}",status="False",tfmodel="half",type="Ready"}} 1',
    ):
        assert any(line.startswith(start) for line in lines), start
