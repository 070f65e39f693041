"""What is planned is what an API server takes, with every field, and what Pod Security *restricted* admits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.operator.makers import Live, planned

CASES = sorted((Path(__file__).resolve().parent.parent / "golden").glob("*/objects.yaml"))
NEEDS = ("runtimeClassName", "priorityClassName", "serviceAccountName")
"""Fields that name objects which the API server looks for."""


def objects(case: Path, namespace: str) -> list[dict]:
    found = list(yaml.safe_load_all(case.read_text()))
    for manifest in found:
        manifest["metadata"]["namespace"] = namespace
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
def test_the_api_server_takes_every_object_whole(cluster, namespace, case):
    wanted = objects(case, namespace)
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    answer = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-", input=listed)
    for manifest, taken in zip(wanted, json.loads(answer)["items"], strict=True):
        assert_within(manifest, taken)


def assert_within(wanted, taken):
    """Nothing was dropped: what we ask for is in what we get."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in taken or value is None, name
            assert_within(value, taken.get(name))
    elif isinstance(wanted, list):
        assert len(wanted) == len(taken)
        for ours, theirs in zip(wanted, taken, strict=True):
            assert_within(ours, theirs)
    else:
        assert str(wanted) == str(taken)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
def test_pod_security_admits_the_pods(cluster, namespace, case):
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}
    cluster.apply(account)
    (template,) = [found["spec"]["template"] for found in objects(case, namespace) if found["kind"] == "Deployment"]
    spec = {name: value for name, value in template["spec"].items() if name not in NEEDS}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "pod", "namespace": namespace}, "spec": spec}
    cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
    pod["spec"]["hostNetwork"] = True
    with pytest.raises(Exception, match="violates PodSecurity"):
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))


CHANGES = (
    {},
    {"updateStrategy": "Recreate", "service": {"type": "LoadBalancer", "annotations": {"a": "b"}}},
    {"updateStrategy": "ReplaceFirst", "service": {"type": "NodePort"}, "batching": {"maxBatchSize": 8}},
    {"accelerator": {}, "batching": {"maxBatchSize": 9}, "replicas": 2, "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
    {"updateStrategy": "Recreate", "replicas": 3, "pod": {"labels": {"a": "b"}, "env": [{"name": "A", "value": "B"}]}},
    {"updateStrategy": "SurgeFirst", "pod": {"labels": {"c": "d"}, "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}},
    {},
)  # fmt: skip


def test_each_plan_follows_upon_each_other(cluster, namespace):
    """Applied over one another: what left the plan leaves the objects, and no change is one that the API server can't make."""
    live = Live()
    for changes in CHANGES:
        wanted = json.loads(json.dumps(planned(live=live, server=changes).objects))
        for manifest in wanted:
            manifest["metadata"]["namespace"] = namespace
            del manifest["metadata"]["ownerReferences"]  # the garbage collector looks for them
            text = json.dumps(manifest)
            taken = json.loads(cluster.kubectl("apply", "--server-side", "--force-conflicts", "-o", "json", "-f", "-", input=text))
            assert_within(manifest, taken)
        live = Live(taken)
    assert taken["spec"]["replicas"] == 3, "once given, kept"
    (container,) = taken["spec"]["template"]["spec"]["containers"]
    assert "env" not in container
    assert [volume["name"] for volume in taken["spec"]["template"]["spec"]["volumes"]] == ["source", "config", "view", "tmp"]
    assert {"a", "c"}.isdisjoint(taken["spec"]["template"]["metadata"]["labels"])
    assert "a" not in cluster.get("-n", namespace, "service", "half")["metadata"].get("annotations", {})
