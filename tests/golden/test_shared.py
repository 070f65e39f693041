"""Whole objects of a shared server and its models' Services: `pytest tests/golden --update-golden` writes them anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests import schema
from tests.golden.test_objects import _Readable
from tests.unit.operator.makers import NOW, PLATFORM, Live
from tfmodel_operator.api import spec
from tfmodel_operator.plan import join, service, shared

CASE = Path(__file__).parent / "shared"


def made(live: Live):
    body, *models = map(schema.defaulted, yaml.safe_load_all((CASE / "server.yaml").read_text()))
    server = spec.parse_server(body)
    joined = join.join(server, map(spec.parse, models), {}, {})
    assert not joined.refused
    steps = {name: shared.step(server, model, None, None, live.deployment, (), NOW) for name, model in joined.members.items()}
    plan = shared.make_plan(server, joined.members, steps, None, (), PLATFORM, live, NOW)
    services = [service.service(model, server.server, server.server_label) for model in joined.members.values()]
    return plan, services


def test_objects(update_golden):
    plan, services = made(Live())
    text = yaml.dump_all([*plan.objects, *services], Dumper=_Readable, sort_keys=False, width=130)
    if update_golden:
        (CASE / "objects.yaml").write_text(text)
    assert (CASE / "objects.yaml").read_text() == text
    assert made(Live(plan.deployment))[0] == plan, "a plan must follow from itself"
