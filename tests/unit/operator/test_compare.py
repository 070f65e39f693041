"""What counts as "the object is as it should be"."""

from __future__ import annotations

import copy

import pytest

from tests.unit.operator.makers import planned
from tfmodel_operator.cluster import compare

DESIRED = planned(server={"replicas": 1}).deployment


def holds_after(change):
    """Tell whether the Deployment holds as it might be stored, with what others added to it, after a change."""
    found = copy.deepcopy(DESIRED)
    found["status"] = {"replicas": 1}
    pod = found["spec"]["template"]["spec"]
    pod["dnsPolicy"] = "ClusterFirst"
    pod["containers"].insert(0, {"name": "injected", "image": "mesh"})
    change(pod, found)
    return compare.holds(found, DESIRED)


def test_defaults_and_injected_containers_are_not_ours():
    assert holds_after(lambda pod, found: None)


def test_every_change_to_what_is_ours_is_seen():
    assert not holds_after(lambda pod, found: found["spec"].update(replicas=5))
    assert not holds_after(lambda pod, found: pod["containers"][1].update(image="other"))
    assert not holds_after(lambda pod, found: pod["containers"].pop(1))
    assert not holds_after(lambda pod, found: pod["containers"][1]["args"].append("--more"))
    assert not holds_after(lambda pod, found: pod["containers"][1]["args"].pop())
    assert not holds_after(lambda pod, found: pod["containers"][1].pop("args"))
    assert not holds_after(lambda pod, found: found["metadata"]["labels"].clear())
    assert not holds_after(lambda pod, found: found["metadata"]["ownerReferences"].clear())


@pytest.mark.parametrize(
    ("live", "desired", "same"),
    [
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, True),
        ({"requests": {"cpu": "500m"}}, {"requests": {"cpu": "0.5"}}, True),
        ({"limits": {"nvidia.com/gpu": "1"}}, {"limits": {"nvidia.com/gpu": 1}}, True),
        ({"requests": {"memory": "1k"}}, {"requests": {"memory": "1e3"}}, True),
        ({"limits": {"cpu": "2"}}, {"limits": {"cpu": "1"}}, False),
        ({"limits": {}}, {"limits": {"cpu": "1"}}, False),
        ({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "1.0"}]}, False),
        ({}, {"nodeSelector": {}, "tolerations": [], "hostNetwork": False, "minReadySeconds": 0}, True),
        ({"hostNetwork": True}, {"hostNetwork": False}, False),
        ({}, {"tolerations": [{"key": "a"}]}, False),
        ({"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "a"}]}, False),
        ({"ports": [{"port": 1, "protocol": "TCP"}]}, {"ports": [{"port": 1}]}, True),
        ({"spec": "text"}, {"spec": {"a": 1}}, False),
        ({"selector": {"a": "b"}}, {"selector": {"a": "b"}}, True),
        ({"selector": {"a": "b", "c": "d"}}, {"selector": {"a": "b"}}, False),
        ({"podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c"}]}}, {"podSelector": {"matchLabels": {"a": "b"}}}, False),
        ({"podSelector": {"matchLabels": {"a": "b"}}}, {"podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": []}}, True),
        ({"podSelector": {"matchLabels": {"a": "b"}}}, {"podSelector": {}}, False),
        ({"nodeSelector": {"a": "b"}}, {}, True),
    ],
)
def test_values_are_compared_as_the_api_server_stores_them(live, desired, same):
    assert compare.holds(live, desired) is same


@pytest.mark.parametrize("text", ["", "Gi", ".", "1..2", "--1", "1Xi", "e", None, True, [], {}])
def test_what_is_no_quantity_is_itself(text):
    assert compare.quantity(text) == text
