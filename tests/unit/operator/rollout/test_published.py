"""What is published and told: status, endpoints, the config."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator import makers
from tests.unit.operator.rollout.makers import BOTH, MODEL, READY, desired, kept, plan, pod, seen
from tfmodel_operator.api.rollout_spec import Approval
from tfmodel_operator.plan import service
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import facts, narrate
from tfmodel_serving import model_config, state
from tfmodel_serving.model_config import All, Latest, Specific

# -- status ---------------------------------------------------------------------------------------------------------------


def test_status_names_every_version_that_clients_get():
    found = seen(pod("a", BOTH), pod("b", {1: "AVAILABLE", 2: "LOADING"}), versions={1, 2}, kept=kept(candidate=2))
    assert narrate.status(plan(desired(), found), found, MODEL) == {
        "promotedVersion": 1,
        "candidateVersion": 2,
        "rollout": {
            "phase": "Growing",
            "step": "version 2 on 1 of 2 ready pods: pod b: version 2 is LOADING",
            "startedAt": "2027-01-15T08:00:00Z",
        },
    }
    strange = seen(pod("a", {1: "AVAILABLE"}), pod("b", {1: "AVAILABLE", 7: "AVAILABLE"}))
    assert narrate.status(plan(desired(Specific((1,))), strange), strange, MODEL)["rollout"]["step"].endswith(
        "; pod b answers with version 7"
    )
    assert narrate.status(plan(desired(), facts.Facts()), facts.Facts(), MODEL) == {
        "rollout": {"phase": "Starting", "step": "nothing is promoted yet: waiting for the first version to serve on all ready pods"}
    }


def test_status_keeps_to_its_bounds():
    noisy = pod("a", {1: "AVAILABLE", 2: "failed"}, extra={})
    models = (state.ModelState(MODEL, "", (state.VersionState(1, "Verified", "AVAILABLE"), state.VersionState(2, "Incomplete", message="x" * 5000))),)
    noisy = dataclasses.replace(noisy, report=dataclasses.replace(noisy.report, models=models))
    found = seen(noisy)
    assert len(narrate.status(plan(desired(), found), found, MODEL)["rollout"]["step"]) <= narrate.STEP_CHARACTERS


def test_endpoints_name_labels_and_a_candidate_on_trial():
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=kept(candidate=2))
    step = plan(desired(approval=Approval.MANUAL), found)
    told = service.endpoints(makers.tfmodel(), step.config)
    assert told["labels"] == {"stable": "http://half.ml.svc:8501/v1/models/half/labels/stable"}
    assert told["candidate"] == "http://half.ml.svc:8501/v1/models/half--candidate"
    assert {"labels", "candidate"}.isdisjoint(service.endpoints(makers.tfmodel()))


# -- the config -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (configs.Config(Specific((3, 4)), {"stable": 3}, Specific((5,)), 4), "{3, 4} stable=3, alone {5} against 4"),
        (configs.Config(Latest(2)), "latest 2"),
        (configs.Config(All(), {}, Latest(1)), "all, alone latest 1"),
        (configs.Config(None, {}, Specific((2,))), "nothing, alone {2}"),
    ],
)
def test_a_config_is_published_as_entries_and_read_back(made, said):
    entries = configs.models(made, "m" * 63, "/models/claim/m")
    text = model_config.to_text(entries)
    assert configs.from_models(model_config.from_text(text), "m" * 63, made.compare_with) == made
    assert str(made) == said
