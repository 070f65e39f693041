"""Versions that failed: which stay out, and what lets them in again."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.operator.rollout.makers import BOTH, MODEL, NOW, READY, desired, kept, plan, pod, seen
from tfmodel_operator.api.rollout_spec import OnFailure
from tfmodel_operator.plan.rollout import narrate, record
from tfmodel_operator.plan.rollout.record import Quarantined
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_serving.model_config import Specific

# -- quarantine -----------------------------------------------------------------------------------------------------------


FAILED = Quarantined(2, "ModelLoadFailed", "unsound", "sha256:aa")


@pytest.mark.parametrize(
    ("entry", "version", "retry", "is_out"),
    [
        pytest.param(FAILED, {"digest": "sha256:aa"}, "", True, id="the same files"),
        pytest.param(FAILED, {"digest": "sha256:bb"}, "", False, id="other files"),
        pytest.param(FAILED, {}, "", True, id="files of which the digest is not known yet"),
        pytest.param(FAILED, {}, "2", False, id="somebody asks"),
        pytest.param(FAILED, {}, "3", True, id="somebody asks for another one"),
        pytest.param(dataclasses.replace(FAILED, retry="2"), {}, "2", True, id="somebody asked before it failed"),
        pytest.param(dataclasses.replace(FAILED, retry="2"), {}, "2 again", False, id="somebody asks again"),
        pytest.param(dataclasses.replace(FAILED, digest=""), {"digest": "sha256:bb"}, "", True, id="the digest is learnt later"),
    ],
)
def test_what_ends_a_quarantine(entry, version, retry, is_out):
    found = seen(pod("a", READY, extra={2: version}), kept=kept(quarantine=(entry,)))
    step = plan(desired(retry=retry), found)
    assert (step.record.quarantined(2) is not None) is is_out
    assert (step.phase is Phase.ROLLED_BACK) is is_out


def test_a_digest_is_learnt_later_and_an_annotation_taken_away_may_be_set_again():
    entry = dataclasses.replace(FAILED, digest="", retry="2")
    step = plan(desired(), seen(pod("a", READY, extra={2: {"digest": "sha256:cc"}}), kept=kept(quarantine=(entry,))))
    assert step.record.quarantine[0] == dataclasses.replace(FAILED, digest="sha256:cc")


def test_files_that_are_written_end_the_quarantine_of_files_nobody_has_hashed():
    entry = dataclasses.replace(FAILED, digest="")
    step = plan(desired(), seen(pod("a", {1: "AVAILABLE", 2: "Incomplete"}), kept=kept(quarantine=(entry,))))
    assert (step.phase, step.record.quarantine) == (Phase.VERIFYING, ())


def test_a_failure_from_before_is_no_verdict():
    behind = pod("b", {1: "AVAILABLE", 2: "failed"}, hash="old")
    found = seen(pod("a", BOTH), behind, versions={1, 2}, kept=kept(candidate=2))
    assert plan(desired(), found).phase is Phase.GROWING


@pytest.mark.parametrize(("on_failure", "alone"), [(OnFailure.ROLL_BACK, set()), (OnFailure.HOLD, {2})])
def test_a_version_that_fails_is_taken_out_or_held_alone(on_failure, alone):
    found = seen(pod("a", {1: "AVAILABLE", 2: "failed"}), versions={1, 2}, kept=kept(candidate=2))
    step = plan(desired(on_failure=on_failure), found)
    assert (step.phase, step.config.versions, step.config.on_trial) == (Phase.ROLLING_BACK, {1}, alone)
    assert step.config.watched == (() if alone else (2,))


def test_what_is_held_is_let_go_when_the_user_no_longer_asks_for_that():
    entry = dataclasses.replace(FAILED, held=True)
    found = seen(pod("a", READY, alone={2: "AVAILABLE"}), alone=2, kept=kept(quarantine=(entry,)))
    assert plan(desired(on_failure=OnFailure.HOLD), found).config.on_trial == {2}
    step = plan(desired(), found)
    assert (step.config.on_trial, step.record.quarantine) == (set(), (FAILED,))


def test_nothing_is_held_where_a_server_crashes():
    entry = dataclasses.replace(FAILED, held=True)
    found = seen(pod("a", READY, crash="Error", crashed_at=NOW), alone=2, kept=kept(quarantine=(entry,)))
    assert plan(desired(), found).config.candidate is None


# -- many versions have failed --------------------------------------------------------------------------------------------


MANY = range(100, 100 + record.MAX_QUARANTINED)
FULL = kept(quarantine=record.bounded(*(Quarantined(v, "ModelLoadFailed", "unsound") for v in MANY)))


def test_what_is_older_than_all_that_is_remembered_to_have_failed_is_not_tried_again_for_ever():
    there = {1: "AVAILABLE", 90: "", **dict.fromkeys(MANY, "")}
    step = plan(desired(), seen(pod("a", there), kept=FULL))
    assert (step.config.versions, step.candidate, step.phase) == ({1}, None, Phase.ROLLED_BACK)
    step = plan(desired(), seen(pod("a", {**there, 200: ""}), kept=FULL))
    assert step.config.versions == {1, 200}, "a newer one is tried"


def test_a_full_quarantine_has_room_for_what_is_asked_for_by_number_or_when_versions_are_deleted():
    there = {1: "AVAILABLE", 90: "", **dict.fromkeys(MANY, "")}
    assert plan(desired(Specific((90,))), seen(pod("a", there), kept=FULL)).config.versions == {1, 90}
    there[MANY[0]] = "Missing"
    step = plan(desired(), seen(pod("a", there), kept=FULL))
    assert (step.config.versions, len(step.record.quarantine)) == ({1, 90}, record.MAX_QUARANTINED - 1)


def test_a_version_that_failed_stays_out_however_long_the_request_to_retry_is():
    retry = "2 " + "please " * 1000
    step = plan(desired(retry=retry), seen(pod("a", {1: "AVAILABLE", 2: "failed"}), versions={1, 2}, good={1}))
    assert step.record.quarantined(2)
    step = plan(desired(retry=retry), seen(pod("a", READY), kept=record.from_text(record.to_text(step.record))))
    assert (step.phase, step.config.versions) == (Phase.ROLLED_BACK, {1})


def test_numbers_that_no_version_can_have_are_nothing():
    odd = pod("a", {1: "AVAILABLE", 0: "AVAILABLE", -1: "", 2**63: "AVAILABLE", 2**64: ""})
    step = plan(desired(), seen(odd))
    assert (step.config.versions, step.promoted, step.candidate) == ({1}, 1, None)
    assert narrate.status(step, seen(odd), MODEL)["promotedVersion"] == 1
