"""Whole objects for whole TFModels: `pytest tests/golden --update-golden` writes them anew; read the diff."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from tests import schema
from tests.unit.operator.makers import NOW, PLATFORM, Live
from tfmodel_operator.api import spec
from tfmodel_operator.plan import plan


class _Readable(yaml.SafeDumper):
    """Files inside a ConfigMap are shown as they are."""

    def ignore_aliases(self, data):
        return True


_Readable.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
)

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/tfmodel.yaml"))


def made(case: Path, live: Live) -> plan.Plan:
    body = schema.defaulted(yaml.safe_load((case / "tfmodel.yaml").read_text()))
    return plan.make_plan(spec.parse(copy.deepcopy(body)), PLATFORM, live, NOW)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_objects(case, update_golden):
    first = made(case, Live())
    text = yaml.dump_all(first.objects, Dumper=_Readable, sort_keys=False, width=130)
    if update_golden:
        (case / "objects.yaml").write_text(text)
    assert (case / "objects.yaml").read_text() == text
    assert made(case, Live()) == first
    assert made(case, Live(first.deployment)) == first, "a plan must follow from itself"
