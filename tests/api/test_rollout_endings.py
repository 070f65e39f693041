"""However a rollout ends, nothing is written afterwards, and status says in one sentence what is so and what to do."""

from __future__ import annotations

import json

import pytest

from tests.api.audit import Requests
from tests.api.conftest import Operator
from tests.api.kubelet import Kubelets
from tests.api.test_rollouts import Play, at_rest, ready, seen_again
from tests.bench.operator.fleet import Fleet, Pod
from tfmodel_serving import state

UNSOUND = 3


class Unsound(Fleet):
    """Model servers that can't load one version."""

    def _serve(self, pod: Pod) -> None:
        super()._serve(pod)
        said = json.loads(pod.body)
        for version in (version for model in said["models"] for version in model["versions"]):
            if version["version"] == UNSOUND and version["state"]:
                version |= {"state": "END", "message": f"{state.LOAD_FAILED}DATA_LOSS: truncated", "reason": "ModelLoadFailed"}
        pod.publish(state.from_dict(said))


@pytest.fixture(scope="module")
def cluster(bare):
    return bare


# Name, the version asked for, spec.rollout, and what is said in the end: phase, reason, and words of the message.
ENDINGS = [
    ("rolled-back", UNSOUND, {}, "RolledBack", "ModelLoadFailed", ["version 3 failed", "DATA_LOSS: truncated", "serving.tfmodel.dev/retry"]),
    ("held", UNSOUND, {"onFailure": "Hold"}, "Held", "ModelLoadFailed", ["version 3 failed, and is kept as held--candidate", "DATA_LOSS: truncated"]),
    ("paused", 2, {"paused": True}, "Paused", "Paused", ["set spec.rollout.paused to false"]),
    ("waiting", 2, {"approval": "Manual"}, "WaitingForApproval", "WaitingForApproval", ["set spec.rollout.approvedVersion to 2"]),
    ("other", 2, {"approval": "Manual", "approvedVersion": 9}, "WaitingForApproval", "WaitingForApproval", ["(it is 9)"]),
    ("missing", 7, {}, "Verifying", "NoVersionFound", ["version 7 is not in"]),
    ("baking", 2, {"bakeSeconds": 3600}, "Baking", "RollingOut", ["version 2 promoted", "version 1 still loaded"]),
    ("complete", 2, {}, "Complete", "AsDesired", ["version 2 AVAILABLE"]),
]


@pytest.fixture
def models(cluster, namespace, tfmodel):
    """Return TFModels, by name, that serve version 1 of two good ones and one that can't be loaded."""
    with Kubelets(cluster, namespace, Unsound(volume=(1, 2, UNSOUND))):
        operator = Operator(cluster, "--namespace", namespace, "--lease", namespace, name=namespace)
        spec = {
            "server": {"replicas": 2, "pod": {"schedulerName": "none"}},
            "versionPolicy": {"specific": {"versions": [1]}},
            "rollout": {"strategy": "InPlace"},
        }
        made = {name: Play(cluster, namespace, tfmodel(name, **spec)) for name, *_ in ENDINGS}
        for play in made.values():
            play.promoted(1)
        yield made
        assert operator.stop() == 0
        assert "Traceback" not in operator.log.read_text()


def test_however_a_rollout_ends_status_says_it_and_nothing_is_written_any_more(models, cluster):
    for name, version, rollout, *_ in ENDINGS:
        models[name].edit(rollout=rollout, versionPolicy={"latest": None, "specific": {"versions": [version]}})
    for name, version, _, *end, says in ENDINGS:
        status = models[name].wait(name, lambda status, end=end: [status.get("rollout", {}).get("phase"), ready(status)["reason"]] == end)
        assert all(word in ready(status)["message"] for word in says), (name, ready(status)["message"])
        assert status["promotedVersion"] == (version if end[0] in {"Complete", "Baking"} else 1)
    at_rest(*models.values())
    asked = Requests(cluster)
    assert seen_again(*models.values()) == seen_again(*models.values())
    told = sorted(f"patch tfmodels/status {name} 200" for name in models for _ in range(2))
    assert sorted(asked.writes()) == told, "that it has seen each spec, and nothing else"
