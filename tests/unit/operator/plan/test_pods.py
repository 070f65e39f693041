"""The pods: safe for their neighbours, and as the user asked."""

from __future__ import annotations

import pytest

from tests.unit.operator.makers import planned
from tfmodel_operator.api import labels


def spec_of(**server):
    return planned(server=server).deployment["spec"]["template"]["spec"]


def all_containers(pod):
    return [*pod["initContainers"], *pod["containers"]]


@pytest.mark.parametrize("server", [{}, {"pod": {"securityContext": {"runAsUser": 1000}}}, {"accelerator": {}}], ids=["plain", "another user", "accelerator"])
def test_pods_pass_pod_security_restricted(server):
    """Source: kubernetes.io, Pod Security Standards. tests/api asks the admission plugin itself."""
    pod = spec_of(**server)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in all_containers(pod):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    allowed = {"persistentVolumeClaim", "configMap", "emptyDir", "downwardAPI"}
    assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"])
    assert pod["automountServiceAccountToken"] is False


def test_a_given_security_context_is_merged_with_ours():
    security = spec_of(pod={"securityContext": {"runAsUser": 1000, "supplementalGroups": [7]}})["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["supplementalGroups"]) == (1000, 65532, [7])


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "amd.com/gpu", "example.com/tpu_v9"])
def test_any_accelerator_is_limited_requested_and_tolerated(resource):
    pod = spec_of(accelerator={"resource": resource, "count": 2}, resources={"limits": {"memory": "1Gi"}, "requests": {"cpu": 1}})
    (server,) = pod["containers"]
    assert server["resources"] == {"limits": {"memory": "1Gi", resource: "2"}, "requests": {"cpu": 1, resource: "2"}}
    assert pod["tolerations"] == [{"key": resource, "operator": "Exists"}]
    assert all(resource not in quantities for quantities in pod["initContainers"][0]["resources"].values())


def test_a_toleration_the_user_gives_is_not_given_twice():
    given = {"key": "nvidia.com/gpu", "operator": "Exists"}
    assert spec_of(accelerator={}, pod={"tolerations": [given]})["tolerations"] == [given]
    other = {"key": "dedicated", "operator": "Exists"}
    assert spec_of(accelerator={}, pod={"tolerations": [other]})["tolerations"] == [other, given]


def test_cuda_has_a_place_to_write():
    pod = spec_of(accelerator={})
    (server,) = pod["containers"]
    (path,) = [variable["value"] for variable in server["env"] if variable["name"] == "CUDA_CACHE_PATH"]
    (mount,) = [mount for mount in server["volumeMounts"] if mount["mountPath"] == path]
    assert not mount.get("readOnly")
    assert [volume for volume in pod["volumes"] if volume["name"] == mount["name"] and "emptyDir" in volume]
    assert "env" not in spec_of()["containers"][0]


@pytest.mark.parametrize(("grow", "expected"), [(True, ["true"]), (False, [])])
def test_memory_may_grow(grow, expected):
    (server,) = spec_of(accelerator={"allowGrowth": grow})["containers"]
    assert [v["value"] for v in server["env"] if v["name"] == "TF_FORCE_GPU_ALLOW_GROWTH"] == expected


def test_spread_counts_the_pods_of_this_server_unless_told_otherwise():
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    (spread,) = spec_of(pod={"topologySpreadConstraints": [constraint]})["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": {labels.SERVER: "half"}}
    given = {**constraint, "labelSelector": {"matchLabels": {"a": "b"}}}
    assert spec_of(pod={"topologySpreadConstraints": [given]})["topologySpreadConstraints"] == [given]


def test_the_model_server_gets_every_claimed_device():
    pod = spec_of(pod={"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]})
    assert pod["containers"][0]["resources"] == {"claims": [{"name": "gpu"}]}
    assert pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]


def test_our_labels_win():
    template = planned(server={"pod": {"labels": {"team": "a"}}}).deployment["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert labels.selector("half").items() <= template["metadata"]["labels"].items()


def test_a_stopping_pod_has_time_to_drain():
    pod = spec_of(drainSeconds=100)
    assert pod["terminationGracePeriodSeconds"] > 100
    assert "--drain-seconds=100" in pod["initContainers"][0]["args"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["httpGet"]["path"] == "/drain"


def test_probes_ask_the_agent():
    for container in all_containers(spec_of()):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] == labels.AGENT_PORT
