"""The operator against a real API server: what it writes, and what it doesn't."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("operator")

CHILDREN = "configmap/half-models", "service/half", "deployment/half"


def children(cluster, namespace):
    return [cluster.get("-n", namespace, child) for child in CHILDREN]


def settled(cluster, namespace, name="half"):
    """Wait until status is about the current generation; return the TFModel."""

    def look():
        found = cluster.get("-n", namespace, "tfmodel", name)
        return found if found["status"]["observedGeneration"] == found["metadata"]["generation"] else None

    return cluster.wait_for(f"status of {name}", look)


def condition(found, kind):
    return next((c for c in found["status"]["conditions"] if c["type"] == kind), None)


def test_children_are_made_owned_and_left_alone(cluster, tfmodel, namespace):
    cluster.apply(tfmodel())
    found = settled(cluster, namespace)
    made = children(cluster, namespace)
    for child in made:
        owner = child["metadata"]["ownerReferences"]
        assert [(o["kind"], o["uid"], o["controller"]) for o in owner] == [("TFModel", found["metadata"]["uid"], True)]
    assert condition(found, "ConfigValid")["status"] == "True"
    assert condition(found, "Ready")["reason"] == "WaitingForPods"
    assert found["metadata"].get("finalizers") is None
    # A change that concerns nothing of ours makes the operator look again; it must find nothing to write.
    cluster.kubectl("-n", namespace, "label", "tfmodel/half", "team=a")
    cluster.kubectl("-n", namespace, "scale", "tfmodel/half", "--replicas=2")
    cluster.wait_for("replicas to follow", lambda: children(cluster, namespace)[2]["spec"]["replicas"] == 2)
    before, after = made[:2], children(cluster, namespace)[:2]
    assert [c["metadata"]["resourceVersion"] for c in before] == [c["metadata"]["resourceVersion"] for c in after]
    assert "team" not in after[0]["metadata"]["labels"]


VOLUME = '{"spec": {"template": {"spec": {"volumes": [{"name": "config", "configMap": null, "emptyDir": {}}]}}}}'
BUDGET = '{"spec": {"maxUnavailable": null, "minAvailable": 1}}'


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(("delete", "configmap/half-models"), id="ConfigMap deleted"),
        pytest.param(("delete", "service/half"), id="Service deleted"),
        pytest.param(("delete", "deployment/half"), id="Deployment deleted"),
        pytest.param(("patch", "configmap/half-models", "-p", '{"data": {"models.config": ""}}'), id="config emptied"),
        pytest.param(("patch", "service/half", "-p", '{"spec": {"selector": {"serving.tfmodel.dev/server": "x"}}}'), id="selector"),
        pytest.param(("patch", "service/half", "-p", '{"spec": {"selector": {"no": "pod"}}}'), id="more in the selector"),
        pytest.param(("patch", "poddisruptionbudget/half", "--type=merge", "-p", BUDGET), id="another kind of budget"),
        pytest.param(("patch", "deployment/half", "-p", '{"spec": {"strategy": {"type": "RollingUpdate"}}}'), id="another strategy"),
        pytest.param(("patch", "service/half", "--type=merge", "-p", '{"spec": {"ports": [{"name": "rest", "port": 80}]}}'), id="ports"),
        pytest.param(("patch", "deployment/half", "-p", VOLUME), id="another volume of that name"),
        pytest.param(("set", "image", "deployment/half", "model-server=other"), id="image"),
    ],
)
def test_damaged_children_come_back(cluster, tfmodel, namespace, damage):
    cluster.apply(tfmodel(server={"replicas": 2, "updateStrategy": "Recreate"}))
    settled(cluster, namespace)

    def content():
        budget = cluster.get("-n", namespace, "poddisruptionbudget/half")
        return [{key: child.get(key) for key in ("data", "spec")} for child in (*children(cluster, namespace), budget)]

    whole = content()
    cluster.kubectl("-n", namespace, *damage)
    cluster.wait_for("the children to be whole again", lambda: _comparable(content()) == _comparable(whole), timeout=30)


def test_what_was_put_back_whole_can_leave_again(cluster, tfmodel, namespace):
    def made():
        return cluster.get("-n", namespace, "deployment/half")

    cluster.apply(tfmodel(server={"pod": {"env": [{"name": "A", "value": "1"}]}}))
    settled(cluster, namespace)
    before = made()["spec"]["template"]
    cluster.kubectl("-n", namespace, "patch", "deployment/half", "-p", VOLUME)
    cluster.wait_for("the template", lambda: made()["spec"]["template"] == before, timeout=30)
    cluster.apply(tfmodel())
    cluster.wait_for("the variable to go", lambda: "env" not in made()["spec"]["template"]["spec"]["containers"][0], timeout=30)


def _comparable(contents):
    text = json.loads(json.dumps(contents))
    for content in text:
        for key in ("clusterIP", "clusterIPs"):
            (content.get("spec") or {}).pop(key, None)
    return text


def test_what_the_api_server_refuses_is_stalled_with_its_words(cluster, tfmodel, namespace):
    cluster.apply(tfmodel(server={"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}))
    found = settled(cluster, namespace)
    ready, stalled = condition(found, "Ready"), condition(found, "Stalled")
    assert (ready["reason"], stalled["status"]) == ("RejectedByAPIServer", "True")
    assert "must be less than or equal to memory limit" in ready["message"]
    cluster.apply(tfmodel(server={"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}}))
    healed = settled(cluster, namespace)
    assert condition(healed, "Stalled") is None
    assert condition(healed, "ConfigValid")["status"] == "True"


def test_an_object_that_is_not_ours_is_left_alone(cluster, tfmodel, namespace):
    cluster.kubectl("-n", namespace, "create", "service", "clusterip", "half", "--tcp=80:80")
    cluster.apply(tfmodel())
    found = settled(cluster, namespace)
    assert condition(found, "Ready")["reason"] == "NameConflict"
    assert "Service half exists already and was not made by this operator" in condition(found, "Ready")["message"]
    assert cluster.get("-n", namespace, "service/half")["spec"]["ports"][0]["port"] == 80
    cluster.kubectl("-n", namespace, "delete", "service/half")
    cluster.wait_for("the conflict to be over", lambda: condition(settled(cluster, namespace), "Stalled") is None, timeout=60)


@pytest.mark.parametrize("label", ["half", "other", ""])
def test_a_label_of_ours_on_a_strangers_object_gives_us_nothing(cluster, tfmodel, namespace, label):
    cluster.kubectl("-n", namespace, "create", "service", "clusterip", "half", "--tcp=80:80")
    cluster.kubectl("-n", namespace, "label", "service/half", f"serving.tfmodel.dev/server={label}")
    cluster.apply(tfmodel())
    assert condition(settled(cluster, namespace), "Ready")["reason"] == "NameConflict"
    stranger = cluster.get("-n", namespace, "service/half")
    assert "ownerReferences" not in stranger["metadata"]
    assert [port["port"] for port in stranger["spec"]["ports"]] == [80]


def test_an_orphaned_server_is_adopted_without_a_new_pod(cluster, tfmodel, namespace):
    cluster.apply(tfmodel())
    settled(cluster, namespace)
    before = cluster.get("-n", namespace, "deployment/half")
    cluster.kubectl("-n", namespace, "delete", "tfmodel/half", "--cascade=orphan")
    cluster.wait_for("the orphan", lambda: "ownerReferences" not in cluster.get("-n", namespace, "deployment/half")["metadata"])
    cluster.apply(tfmodel())
    found = settled(cluster, namespace)
    after = cluster.get("-n", namespace, "deployment/half")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
    assert after["spec"]["template"] == before["spec"]["template"]


def test_deleting_the_model_leaves_nothing(cluster, tfmodel, namespace):
    cluster.apply(tfmodel())
    settled(cluster, namespace)
    cluster.kubectl("-n", namespace, "delete", "tfmodel/half")
    ours = ("-n", namespace, "configmaps,services,deployments,replicasets,pods", "-l", "serving.tfmodel.dev/server")
    cluster.wait_for("the children to go", lambda: cluster.get(*ours)["items"] == [], timeout=60)


def test_models_side_by_side_do_not_touch_each_other(cluster, tfmodel, namespace):
    cluster.apply(tfmodel("a"), tfmodel("a-models"))
    for name in ("a", "a-models"):
        settled(cluster, namespace, name)
    assert {c["metadata"]["name"] for c in cluster.get("-n", namespace, "configmaps", "-l", "serving.tfmodel.dev/server")["items"]} == {
        "a-models", "a-models-models",
    }  # fmt: skip
