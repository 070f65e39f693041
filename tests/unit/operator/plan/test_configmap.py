from __future__ import annotations

import json

import pytest

from tests.unit.operator.makers import tfmodel
from tfmodel_operator.api import labels
from tfmodel_operator.plan import configmap
from tfmodel_operator.plan.rollout import record
from tfmodel_operator.plan.rollout.record import Good, Quarantined, Record

GOOD = Good(frozenset({1}), {"stable": 1})
DIGEST = f"sha256:{64 * 'a'}"


def failed(count, message):
    entries = (Quarantined(version, "ModelLoadFailed", message, DIGEST) for version in range(2, 2 + count))
    return Record(GOOD, quarantine=record.bounded(*entries), compared={"version": 2, "against": 1, "message": message})


def annotation(records):
    return configmap.configmap(tfmodel(), {}, records)["metadata"]["annotations"][labels.ROLLOUTS]


@pytest.mark.parametrize(
    ("models", "kept"),
    [pytest.param(1, 20, id="one"), pytest.param(10, 20, id="words go first"), pytest.param(70, 3, id="then the oldest"), pytest.param(500, 0, id="then all")],
)
def test_the_records_of_many_models_that_fail_fit_into_one_object(models, kept):
    names = [f"model-{number}" for number in range(models)]
    text = annotation({name: failed(20, 512 * "\u00e9") for name in names})
    assert len(text) <= configmap.MAX_RECORDS_BYTES
    made = {"metadata": {"annotations": {labels.ROLLOUTS: text}}}
    found = {name: record.from_text(configmap.record_of(made, name)) for name in names}
    assert all(one.good == GOOD for one in found.values())
    assert {len(one.quarantine) for one in found.values()} == {kept}
    assert annotation(found) == text, "what is read is written as it was"
    assert json.loads(text).keys() == set(names)
