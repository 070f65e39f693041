"""The agents of the benchmark say what real ones would, when real ones would."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.bench.operator import fleet
from tfmodel_serving import agent_config, model_config, state
from tfmodel_serving.model_config import All, Latest, Specific

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/agent-state.schema.json").read_text())
GOLDEN = {each["kind"]: each for each in yaml.safe_load_all((ROOT / "tests/golden/minimal/objects.yaml").read_text())}
CONFIG, TEMPLATE = GOLDEN["ConfigMap"], GOLDEN["Deployment"]["spec"]["template"]


def config(policy: model_config.VersionPolicy = Latest(1)) -> dict[str, object]:
    """The golden ConfigMap of a minimal TFModel, with another policy."""
    text = model_config.to_text([model_config.Model("half", "/models/half", policy)])
    return CONFIG | {"data": CONFIG["data"] | {"models.config": text}}


def config_hash(config_map: dict[str, object]) -> str:
    return agent_config.content_hash(config_map["data"]["models.config"], config_map["data"]["agent.json"])


def pod(*, address: str = "10.244.0.1", uid: str = "pod", touched: str = "") -> dict[str, object]:
    """A pod of the golden Deployment."""
    metadata = {"name": "half-1", "namespace": "default", "uid": uid, "annotations": {"touched": touched}}
    return {"metadata": metadata, "spec": TEMPLATE["spec"], "status": {"podIP": address} if address else {}}


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
        seen, made = fleet.Fleet(volume=(1, 2)), config(policy)
        seen.see_config(True, made)
        seen.see_pod(True, pod())
        found = said(seen)
        assert (found.pod_uid, found.ready, found.settled) == ("pod", True, True)
        assert found.config_hash == config_hash(made)
        model = found.model("half")
        assert model is not None
        assert {version.version for version in model.versions if version.state == "AVAILABLE"} == available

    asyncio.run(run())


def test_a_changed_config_waits_for_the_pod_to_be_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "TOUCHED_SECONDS", 0.0)

    async def run() -> None:
        seen, before, after = fleet.Fleet(), config(), config(Specific((1,)))
        seen.see_config(True, before)
        seen.see_pod(True, pod())
        seen.see_config(True, after)
        await seen.by_address["10.244.0.1"].wait(0.05)
        assert said(seen).config_hash == config_hash(before)
        seen.see_pod(True, pod(touched="now"))
        await seen.by_address["10.244.0.1"].wait(5)
        assert said(seen).config_hash == config_hash(after)

    asyncio.run(run())


def test_a_config_that_comes_after_its_pod_is_mounted_then() -> None:
    async def run() -> None:
        seen = fleet.Fleet()
        seen.see_pod(True, pod())
        assert not said(seen).ready
        seen.see_config(True, config())
        await seen.by_address["10.244.0.1"].wait(5)
        assert said(seen).ready

    asyncio.run(run())


def test_a_version_can_take_a_while_to_load() -> None:
    async def run() -> None:
        seen = fleet.Fleet(loading_seconds=0.05)
        seen.see_config(True, config())
        seen.see_pod(True, pod())
        first = said(seen)
        assert (first.ready, first.settled, first.models[0].versions[0].state) == (False, False, "LOADING")
        await seen.by_address["10.244.0.1"].wait(5)
        assert said(seen).ready

    asyncio.run(run())


def test_an_address_answers_for_the_pod_that_has_it_now() -> None:
    async def run() -> None:
        seen = fleet.Fleet()
        seen.see_pod(True, pod(address=""))
        assert seen.by_address == {}
        seen.see_pod(True, pod(uid="old"))
        seen.see_pod(True, pod(uid="new"))
        seen.see_pod(False, pod(uid="old"))
        assert said(seen).pod_uid == "new"
        seen.see_pod(True, pod(uid="new", address="10.244.0.2"))
        assert list(seen.by_address) == ["10.244.0.2"]
        seen.see_pod(False, pod(uid="new"))
        assert seen.by_address == {}

    asyncio.run(run())
