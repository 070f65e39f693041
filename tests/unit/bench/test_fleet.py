"""The agents of the benchmark say what real ones would, when real ones would."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema
import pytest

from tests.bench.operator import fleet
from tfmodel_operator.api import spec
from tfmodel_operator.plan import configmap, plan
from tfmodel_serving import model_config, state
from tfmodel_serving.model_config import All, Latest, Specific

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/agent-state.schema.json").read_text())


def objects(version_policy: object = Latest(1)) -> plan.Plan:
    body = {"metadata": {"name": "half", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {"source": {"persistentVolumeClaim": {"claimName": "models"}}, "server": {"image": "serving"}}}
    match version_policy:
        case Specific(versions):
            body["spec"]["versionPolicy"] = {"specific": {"versions": list(versions)}}
        case All():
            body["spec"]["versionPolicy"] = {"all": {}}
    return plan.make_plan(spec.parse(body), "agent")


def pod(made: plan.Plan, *, address: str = "10.244.0.1", uid: str = "pod", touched: str = "") -> dict[str, object]:
    template = made.deployment["spec"]["template"]
    metadata = {"name": "half-1", "namespace": "default", "uid": uid, "annotations": {"touched": touched}}
    return {"metadata": metadata, "spec": template["spec"], "status": {"podIP": address} if address else {}}


def said(seen: fleet.Fleet, address: str = "10.244.0.1") -> state.AgentState:
    document = json.loads(seen.by_address[address].body)
    jsonschema.validate(document, SCHEMA)
    return state.from_dict(document)


@pytest.mark.parametrize(("policy", "available"), [
    pytest.param(Latest(1), {2}, id="the newest"),
    pytest.param(All(), {1, 2}, id="all"),
    pytest.param(Specific((1,)), {1}, id="a given one"),
])
def test_every_wanted_version_is_available(policy: model_config.VersionPolicy, available: set[int]) -> None:
    async def run() -> None:
        seen, made = fleet.Fleet(volume=(1, 2)), objects(policy)
        seen.see_config(True, made.configmap)
        seen.see_pod(True, pod(made))
        found = said(seen)
        assert (found.pod_uid, found.ready, found.settled) == ("pod", True, True)
        assert found.config_hash == configmap.content_hash(made.configmap)
        model = found.model("half")
        assert model is not None
        assert {version.version for version in model.versions if version.state == "AVAILABLE"} == available

    asyncio.run(run())


def test_a_changed_config_waits_for_the_pod_to_be_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "TOUCHED_SECONDS", 0.0)

    async def run() -> None:
        seen, before, after = fleet.Fleet(), objects(), objects(Specific((1,)))
        seen.see_config(True, before.configmap)
        seen.see_pod(True, pod(before))
        seen.see_config(True, after.configmap)
        await seen.by_address["10.244.0.1"].wait(0.05)
        assert said(seen).config_hash == before.config_hash
        seen.see_pod(True, pod(before, touched="now"))
        await seen.by_address["10.244.0.1"].wait(5)
        assert said(seen).config_hash == after.config_hash

    asyncio.run(run())


def test_a_config_that_comes_after_its_pod_is_mounted_then() -> None:
    async def run() -> None:
        seen, made = fleet.Fleet(), objects()
        seen.see_pod(True, pod(made))
        assert not said(seen).ready
        seen.see_config(True, made.configmap)
        await seen.by_address["10.244.0.1"].wait(5)
        assert said(seen).ready

    asyncio.run(run())


def test_a_version_can_take_a_while_to_load() -> None:
    async def run() -> None:
        seen, made = fleet.Fleet(loading_seconds=0.05), objects()
        seen.see_config(True, made.configmap)
        seen.see_pod(True, pod(made))
        first = said(seen)
        assert (first.ready, first.settled, first.models[0].versions[0].state) == (False, False, "LOADING")
        await seen.by_address["10.244.0.1"].wait(5)
        assert said(seen).ready

    asyncio.run(run())


def test_an_address_answers_for_the_pod_that_has_it_now() -> None:
    async def run() -> None:
        seen, made = fleet.Fleet(), objects()
        seen.see_pod(True, pod(made, address=""))
        assert seen.by_address == {}
        seen.see_pod(True, pod(made, uid="old"))
        seen.see_pod(True, pod(made, uid="new"))
        seen.see_pod(False, pod(made, uid="old"))
        assert said(seen).pod_uid == "new"
        seen.see_pod(True, pod(made, uid="new", address="10.244.0.2"))
        assert list(seen.by_address) == ["10.244.0.2"]
        seen.see_pod(False, pod(made, uid="new"))
        assert seen.by_address == {}

    asyncio.run(run())
