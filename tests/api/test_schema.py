"""What the API server refuses and what it says then, what it adds, and how the schema explains itself."""

from __future__ import annotations

import json

import pytest
import yaml

from tests import bad_specs, fields, schema
from tests.api.conftest import ROOT
from tests.cluster.errors import CommandFailed

GOLDEN = sorted((ROOT / "tests/golden").glob("*/tfmodel.yaml"))
SAMPLES = sorted((ROOT / "manifests/samples").glob("*.yaml"))
MAX_BYTES = 200_000


@pytest.mark.parametrize("bad", bad_specs.REFUSED, ids=str)
def test_bad_input_is_refused_with_the_fix(cluster, tfmodel, bad):
    with pytest.raises(CommandFailed) as refused:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(tfmodel(bad.name, **bad.spec)))
    assert bad.says in str(refused.value)


def test_model_name_cannot_be_changed_or_given_later(cluster, tfmodel):
    cluster.apply(tfmodel("fixed", modelName="a"), tfmodel("unnamed"))
    for name in ("fixed", "unnamed"):
        with pytest.raises(CommandFailed, match="create another TFModel instead"):
            cluster.apply(tfmodel(name, modelName="b"))


def test_a_policy_can_be_changed_by_client_side_apply(cluster, tfmodel, namespace):
    for policy in ({}, {"versionPolicy": {"specific": {"versions": [3]}}}, {"versionPolicy": {"all": {}}}, {}):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(tfmodel("policy", **policy)))
    assert "versionPolicy" not in cluster.get("-n", namespace, "tfmodel", "policy")["spec"]


def test_a_new_object_is_in_progress_until_the_operator_has_seen_it(cluster, tfmodel):
    created = cluster.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(tfmodel("new")))
    assert json.loads(created)["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda path: path.parent.name)
def test_the_tests_know_the_defaults(cluster, namespace, case):
    body = yaml.safe_load(case.read_text())
    body["metadata"] = {"name": body["metadata"]["name"], "namespace": namespace}
    created = json.loads(cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(body)))
    assert created["spec"] == schema.defaulted(body)["spec"]


def test_defaults_are_not_stored_where_they_follow_from_something_else(cluster, tfmodel):
    created = json.loads(cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(tfmodel(server={}))))
    assert not {"image", "replicas", "parallelism", "batching", "accelerator"} & created["spec"]["server"].keys()


def test_every_field_is_explained(cluster):
    explained = cluster.kubectl("explain", "tfmodel.spec", "--recursive")
    lines = {line.split()[0] for line in explained.splitlines() if line.strip()}
    for leaf in fields.leaves():
        assert leaf.rpartition(".")[2].removesuffix("[]") in lines
    assert "can't be changed" in cluster.kubectl("explain", "tfmodel.spec.modelName")
    assert "--per_process_gpu_memory_fraction" in cluster.kubectl("explain", "tfmodel.spec.server.accelerator.memoryFraction")


def test_the_schema_is_small(cluster):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tfmodels.serving.tfmodel.dev"
    assert len(cluster.kubectl("get", "--raw", path)) < MAX_BYTES
    assert schema.CRD.stat().st_size < MAX_BYTES


def test_what_the_tests_change_fields_to_is_valid(cluster, namespace):
    items = []
    for number, leaf in enumerate(fields.leaves()):
        for choice, body in enumerate(fields.changed(leaf)):
            items.append({**body, "metadata": {"name": f"leaf-{number}-{choice}", "namespace": namespace}})
    cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


LISTS = {
    "env": (lambda who: {"pod": {"env": [{"name": who, "value": who}]}}, lambda server: [v["name"] for v in server["pod"]["env"]]),
    "imagePullSecrets": (lambda who: {"pod": {"imagePullSecrets": [{"name": who}]}}, lambda server: [v["name"] for v in server["pod"]["imagePullSecrets"]]),
    "resourceClaims": (
        lambda who: {"pod": {"resourceClaims": [{"name": who, "resourceClaimName": who}]}},
        lambda server: [v["name"] for v in server["pod"]["resourceClaims"]],
    ),
    "topologySpreadConstraints": (
        lambda who: {"pod": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": who, "whenUnsatisfiable": "ScheduleAnyway"}]}},
        lambda server: [v["topologyKey"] for v in server["pod"]["topologySpreadConstraints"]],
    ),
    "extraArgs": (
        lambda who: {"extraArgs": [{"a": "--num_tflite_pools=2", "b": "--mixed_precision=bfloat16"}[who]]},
        lambda server: ["a" if "pools" in argument else "b" for argument in server["extraArgs"]],
    ),
    "labels": (lambda who: {"pod": {"labels": {who: who}}}, lambda server: list(server["pod"]["labels"])),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_two_managers_share_a_list(cluster, tfmodel, namespace, name):
    """Each sees to its own items, as server-side apply has it."""
    make, read = LISTS[name]

    def apply(who, server):
        body = tfmodel("shared", server=server)
        cluster.kubectl("apply", "--server-side", f"--field-manager={who}", "-f", "-", input=json.dumps(body))

    def items():
        return sorted(read(cluster.get("-n", namespace, "tfmodel", "shared")["spec"]["server"]))

    apply("a", make("a"))
    apply("b", make("b"))
    assert items() == ["a", "b"]
    apply("a", {})
    assert items() == ["b"]


def test_the_scale_subresource(cluster, tfmodel, namespace):
    """An autoscaler reads it first: it must be there, or have been written once."""
    cluster.apply(tfmodel("given", server={"replicas": 2}), tfmodel("unset"))
    path = f"/apis/serving.tfmodel.dev/v1alpha1/namespaces/{namespace}/tfmodels/{{}}/scale"
    assert json.loads(cluster.kubectl("get", "--raw", path.format("given")))["spec"]["replicas"] == 2
    with pytest.raises(CommandFailed, match="does not exist"):
        cluster.kubectl("get", "--raw", path.format("unset"))
    cluster.kubectl("-n", namespace, "scale", "tfmodel/unset", "--replicas=3")
    assert cluster.get("-n", namespace, "tfmodel", "unset")["spec"]["server"]["replicas"] == 3


def test_columns(cluster, tfmodel, namespace):
    cluster.apply(tfmodel("columns", versionPolicy={"latest": {"numVersions": 2}}))
    status = {
        "observedGeneration": 1, "promotedVersion": 7,
        "conditions": [{"type": "Ready", "status": "False", "reason": "WaitingForPods", "message": "m", "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "candidateVersion": 8, "rollout": {"phase": "Growing", "step": "version 8 on 0 of 1 ready pods"},
        "server": {"name": "columns", "image": "i", "pods": "1/2", "accelerator": "1 nvidia.com/gpu"},
    }  # fmt: skip
    cluster.kubectl("-n", namespace, "patch", "tfmodel/columns", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    def shown(*wide):
        return [line.split() for line in cluster.kubectl("-n", namespace, "get", "tfm", "columns", *wide).splitlines()]

    def expected():
        """An operator may have written the status meanwhile."""
        seen = cluster.get("-n", namespace, "tfmodel", "columns")["status"]
        server, ready = seen["server"], next(c for c in seen["conditions"] if c["type"] == "Ready")
        versions = [str(seen.get(name, "")) for name in ("promotedVersion", "candidateVersion")]
        rollout = seen.get("rollout", {})
        narrow = ["columns", ready["status"], *versions, server["pods"], ready["reason"], rollout.get("phase", "")]
        wide = [server["name"], server["image"], *server.get("accelerator", "").split(), '{"latest":{"numVersions":2}}']
        return [part for part in narrow if part], [*wide, *rollout.get("step", "").split()]

    def agree():
        (narrow, wide), row = expected(), shown("-o", "wide")[1]
        return row[: len(narrow)] == narrow and row[len(narrow) + 1 :] == wide

    assert shown()[0] == ["NAME", "READY", "VERSION", "CANDIDATE", "PODS", "REASON", "ROLLOUT", "AGE"]
    assert shown("-o", "wide")[0][8:] == ["SERVER", "IMAGE", "ACCELERATOR", "POLICY", "STEP"]
    cluster.wait_for("the row to show the status", agree, timeout=20)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_are_admitted(cluster, namespace, sample):
    cluster.kubectl("-n", namespace, "create", "--dry-run=server", "--validate=strict", "-f", str(sample))
