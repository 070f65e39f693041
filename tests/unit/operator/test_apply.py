"""What counts as "the object is as it should be"."""

from __future__ import annotations

import copy

from tests.unit.operator.makers import planned
from tfmodel_operator.cluster.apply import project

DESIRED = planned(server={"replicas": 1}).deployment


def live(change):
    """The Deployment as it might be stored, with what others added to it."""
    found = copy.deepcopy(DESIRED)
    found["status"] = {"replicas": 1}
    pod = found["spec"]["template"]["spec"]
    pod["dnsPolicy"] = "ClusterFirst"
    pod["containers"].insert(0, {"name": "injected", "image": "mesh"})
    change(pod, found)
    return project(found, DESIRED) == DESIRED


def test_defaults_and_injected_containers_are_not_ours():
    assert live(lambda pod, found: None)


def test_every_change_to_what_is_ours_is_seen():
    assert not live(lambda pod, found: found["spec"].update(replicas=5))
    assert not live(lambda pod, found: pod["containers"][1].update(image="other"))
    assert not live(lambda pod, found: pod["containers"].pop(1))
    assert not live(lambda pod, found: pod["containers"][1]["args"].append("--more"))
    assert not live(lambda pod, found: pod["containers"][1]["args"].pop())
    assert not live(lambda pod, found: found["metadata"]["labels"].clear())
    assert not live(lambda pod, found: found["metadata"]["ownerReferences"].clear())
