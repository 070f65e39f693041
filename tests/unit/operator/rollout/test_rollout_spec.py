from __future__ import annotations

import pytest

from tfmodel_operator.api import rollout_spec
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, OnFailure, Rollout, Strategy


def test_what_is_absent_has_the_defaults_of_the_schema():
    assert rollout_spec.parse({}) == Rollout()
    assert rollout_spec.parse({"comparison": {}}) == Rollout()


def test_every_field_is_read():
    assert rollout_spec.parse(
        {
            "strategy": "RollingUpdate",
            "approval": "Manual",
            "approvedVersion": 4,
            "paused": True,
            "progressDeadlineSeconds": 60,
            "bakeSeconds": 30,
            "comparison": {"policy": "Require", "maxRelativeDifference": "0.02"},
            "onFailure": "Hold",
        }
    ) == Rollout(
        Strategy.ROLLING_UPDATE, Approval.MANUAL, 4, True, 60, 30, Comparison(ComparisonPolicy.REQUIRE, 0.02), OnFailure.HOLD
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"strategy": "Sideways"}, "spec.rollout.strategy: choose one of Auto, InPlace, RollingUpdate, Recreate"),
        ({"approval": 1}, "spec.rollout.approval: choose one of Automatic, Manual"),
        ({"approvedVersion": 0}, "spec.rollout.approvedVersion: use a whole number, 1 or more, instead of 0"),
        ({"approvedVersion": "4"}, "spec.rollout.approvedVersion: use a whole number, 1 or more, instead of '4'"),
        ({"paused": "yes"}, "spec.rollout.paused: 'yes' is no bool; leave it out for False"),
        ({"progressDeadlineSeconds": 0}, "spec.rollout.progressDeadlineSeconds: use a whole number, 1 or more, instead of 0"),
        ({"bakeSeconds": -1}, "spec.rollout.bakeSeconds: use a whole number, 0 or more, instead of -1"),
        ({"bakeSeconds": True}, "spec.rollout.bakeSeconds: use a whole number, 0 or more, instead of True"),
        ({"comparison": []}, "spec.rollout.comparison: [] is no dict; leave it out for {}"),
        ({"comparison": {"policy": "Maybe"}}, "spec.rollout.comparison.policy: choose one of Disabled, Report, Require"),
        (
            {"comparison": {"maxRelativeDifference": "nan"}},
            "spec.rollout.comparison.maxRelativeDifference: use a decimal such as \"0.001\" instead of 'nan'",
        ),
        ({"onFailure": None, "strategy": {}}, "spec.rollout.strategy: choose one of Auto, InPlace, RollingUpdate, Recreate"),
    ],
)
def test_what_an_older_schema_let_in_is_told_with_its_fix(fields, said):
    with pytest.raises(rollout_spec.InvalidRollout) as error:
        rollout_spec.parse(fields)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("annotation", "version"),
    [("4", 4), (" 4", 4), ("4 again", 4), ("4#2", 4), ("", None), ("x4", None), ("v4", None), ("9" * 20, None), ("-4", None)],
)
def test_a_retry_names_a_version(annotation, version):
    assert rollout_spec.retried_version(annotation) == version
