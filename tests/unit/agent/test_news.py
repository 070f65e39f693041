"""What the log says when the state changes."""

from __future__ import annotations

import dataclasses
import logging

from tfmodel_agent import news
from tfmodel_serving.state import AgentState, ModelState, VersionState

GOOD = VersionState(3, "Verified", "AVAILABLE", wanted=True)
STATE = AgentState("uid", "hash", ready=True, settled=True, step="serving", models=(ModelState("half", "", (GOOD,)),))


def told(before, after):
    return [(one.level, one.message, *one.fields.values()) for one in news.between(before, after)]


def with_versions(*versions):
    return dataclasses.replace(STATE, models=(ModelState("half", "", versions),))


def test_a_state_that_is_the_same_is_no_news():
    assert told(STATE, STATE) == []


def test_a_version_that_is_refused_is_told_once_and_when_it_is_mended():
    refused = with_versions(GOOD, VersionState(4, "Rejected", message="saved_model.pb is empty"))
    fault = (logging.WARNING, "Version has a fault", "half", 4, "Rejected", "saved_model.pb is empty")
    assert told(STATE, refused) == [fault]
    assert told(refused, dataclasses.replace(refused, step="another")) == []
    mended = with_versions(GOOD, VersionState(4, "Verified"))
    assert told(refused, mended) == [(logging.INFO, "Version has no fault any more", "half", 4)]


def test_a_copy_that_goes_on_is_no_warning():
    copied = with_versions(GOOD, VersionState(4, "Incomplete", message="files are still being written"))
    assert [level for level, *_ in told(STATE, copied)] == [logging.INFO]


def test_what_the_pod_lacks_is_told():
    broken = dataclasses.replace(STATE, ready=False, config_message="no config", models=(ModelState("half", "no such path"),))
    assert told(STATE, broken) == [
        (logging.ERROR, "Mounted config can't be used, the last usable one stays", "no config"),
        (logging.INFO, "Readiness changed", False),
        (logging.WARNING, "Source can't be read", "half", "no such path"),
    ]
