"""How soon a status is written: what must be known at once, what is news, and what only narrates."""

from __future__ import annotations

import datetime

import pytest

from tests.unit.operator.makers import NOW as NOW_TIME
from tfmodel_operator.status import pace


def status(ready="False", reason="ModelLoading", message="", *, stalled=False, **more):
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": message}]
    conditions += [{"type": "Stalled", "status": "True", "reason": reason, "message": message}] if stalled else []
    return {"observedGeneration": 1, "conditions": conditions, **more}


NOTHING = {"observedGeneration": -1}
NOW, NEWS, NARRATION = 0.0, pace.NEWS_SECONDS, pace.NARRATION_SECONDS


@pytest.mark.parametrize(
    ("before", "after", "seconds", "when_busy"),
    [
        pytest.param(NOTHING, status(), NEWS, NARRATION, id="first word"),
        pytest.param(NOTHING, status("True", "AsDesired"), NOW, NOW, id="first word, and ready already"),
        pytest.param(NOTHING, status(reason="InvalidSpec", stalled=True), NOW, NOW, id="first word, and stalled already"),
        pytest.param(status(), status("True", "AsDesired"), NOW, NOW, id="ready"),
        pytest.param(status("True", "AsDesired"), status(), NOW, NOW, id="not ready any more"),
        pytest.param(status(), status("Unknown"), NOW, NOW, id="unknown"),
        pytest.param(status(), status(reason="WaitingForPods"), NEWS, NARRATION, id="another reason"),
        pytest.param(status(), status(promotedVersion=4), NEWS, NARRATION, id="another version"),
        pytest.param(status(promotedVersion=3), status(promotedVersion=3, candidateVersion=4), NOW, NARRATION, id="a version clients may get"),
        pytest.param(status(promotedVersion=3), status(promotedVersion=4), NOW, NARRATION, id="a version clients get"),
        pytest.param(status(promotedVersion=3, candidateVersion=4), status(promotedVersion=4), NEWS, NARRATION, id="known to come"),
        pytest.param(status(promotedVersion=3, candidateVersion=4), status(promotedVersion=3), NEWS, NARRATION, id="gone again"),
        pytest.param(status(), status(observedGeneration=2), NEWS, NARRATION, id="another spec"),
        pytest.param(status(), status(message="2 of 3"), NARRATION, NARRATION, id="other words"),
        pytest.param(status(stalled=True), status(stalled=True, message="2"), NARRATION, NARRATION, id="stalled in other words"),
    ],
)
def test_patience(before, after, seconds, when_busy):
    assert pace.patience(before, after, busy=False) == seconds
    assert pace.patience(before, after, busy=True) == when_busy


@pytest.mark.parametrize(("stalled_for", "seconds"), [(None, 10), (0, 10), (50, 10), (100, 20), (600, 120), (90_000, 120), (-9, 10)])
def test_what_is_refused_for_long_is_tried_less_often(stalled_for, seconds):
    conditions = [{"type": "Ready"}]
    if stalled_for is not None:
        since = (NOW_TIME - datetime.timedelta(seconds=stalled_for)).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions.append({"type": "Stalled", "lastTransitionTime": since})
    assert pace.refused_seconds({"conditions": conditions}, NOW_TIME) == seconds
