"""A status comes back from the API server as it was written: else the operator would write it for ever."""

from __future__ import annotations

import dataclasses
import json

from tests.unit.operator.makers import pod, seen, silent, version
from tests.unit.operator.rollout import makers as rollout
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.rollout_spec import Approval
from tfmodel_operator.plan.rollout import narrate, planner
from tfmodel_operator.status import status
from tfmodel_serving import state

REST = "http://half.ml.svc:8501/v1/models"
ENDPOINTS = {
    "labels": {"stable": f"{REST}/half/labels/stable"}, "candidate": f"{REST}/half--candidate", "rest": f"{REST}/half",
    "grpc": "half.ml.svc:8500", "headless": "dns:///half-headless.ml.svc:8500",
}  # fmt: skip
KNOWN = {"digest": "sha256:" + "a" * 64, "signatures": ("serving_default", "classify"), "warmup_records": 12}
NO_IMAGE = Finding("False", Reason.IMAGE_PULL_FAILED, "container model-server: not found\n" + "x" * 5000)


def served(*numbers, labels=None, **given):
    rollout = given.pop("rollout", facts.Rollout(labels=labels or {}))
    return seen(pod("a", *(version(number, **KNOWN) for number in numbers)), rollout=rollout, **given)


def on_trial(**given):
    """What a rollout says whose candidate has been compared in two pods."""
    outputs = tuple(state.OutputDifference(f"output-{number}" * 20, 1e300, number / 7, 5, 9) for number in range(99))
    times = state.Latency(0.0123456789, 1e9), state.Latency(0.0, 1e-9)
    compared = state.Comparison(2, 1, 2**40, outputs, *times, message="m" * 5000)
    pods = [rollout.pod(name, {1: "AVAILABLE"}, alone={2: "AVAILABLE"}, comparison=compared) for name in "ab"]
    found = rollout.seen(*pods, alone=2)
    step = planner.plan_rollout(rollout.desired(approval=Approval.MANUAL, **given), found, rollout.NOW)
    return narrate.rollout(step, found, rollout.MODEL)


LIFE = [
    seen(silent("a")),
    served(1),
    served(2, 1, policy={"all": {}}, labels={"stable": 1, "canary": 2}),
    served(3, 2, 1, policy={"all": {}}, labels={"stable": 1, "next": 3, "canary": 2}),
    served(3, 1, policy={"all": {}}, labels={"stable": 1}),
    served(9, 4, 3, policy={"all": {}}),
    served(1, rollout=on_trial()),
    served(1, rollout=on_trial(paused=True)),
    seen(pod("a", version(3, "END", message="failed to load: broken", reason="ModelLoadFailed"), version(2))),
    seen(pod("a", version(2)), silent("b", problem=NO_IMAGE), deployment={"overdue": "timed out progressing."}),
    seen(silent("b", problem=dataclasses.replace(NO_IMAGE, message="short"))),
    served(*range(40, 10, -1), policy={"all": {}}),
    served(*range(45, 5, -2), policy={"all": {}}),
    seen(pod("a", version(2**63 - 1, message="é" * 2000, digest="d" * 999, signatures=("s" * 999,) * 99, warmup_records=2**40))),
    seen(pod("a", models=())),
    seen(),
]


def test_what_is_written_is_what_is_read(bare):
    made = {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModel", "metadata": {"name": "written", "namespace": "default"}}
    bare.apply({**made, "spec": {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "half"}}}})
    before = {}
    for number, found in enumerate([*LIFE, *reversed(LIFE)]):
        wanted = status.status(found, before, ENDPOINTS, f"2026-01-01T00:{number:02}:00Z")
        arguments = ("--server-side", "--subresource=status", "--field-manager=tfmodel-operator", "--force-conflicts", "-o", "json", "-f", "-")
        stored = json.loads(bare.kubectl("apply", *arguments, input=json.dumps({**made, "status": wanted})))["status"]
        assert stored == wanted
        before = stored
