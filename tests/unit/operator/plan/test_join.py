"""Who is taken in by a shared server, and what the others are told."""

from __future__ import annotations

import dataclasses
import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.makers import joined_model, model_server
from tfmodel_operator.api.conditions import Reason
from tfmodel_operator.plan import configmap, held, join
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_serving import agent_config, model_config

MIB = 1 << 20


def names(joined: join.Joined) -> list[str]:
    return list(joined.members)


def test_all_join_whom_nothing_keeps_out():
    joined = join.join(model_server(), [joined_model("b"), joined_model("a")], {}, {})
    assert (names(joined), joined.refused) == (["a", "b"], {})


def test_of_two_equal_names_the_older_one_serves():
    models = [joined_model("new", modelName="same", created="2026-02-01T00:00:00Z"), joined_model("old", modelName="same")]
    joined = join.join(model_server(), models, {}, {})
    assert names(joined) == ["old"]
    assert joined.refused["new"].reason is Reason.NAME_CONFLICT
    assert "TFModel old" in joined.refused["new"].message


def test_who_is_in_stays_in_though_an_older_one_comes():
    """An older model may move here: what serves goes on serving."""
    old, new = joined_model("old", modelName="same"), joined_model("new", modelName="same", created="2026-02-01T00:00:00Z")
    joined = join.join(model_server(), [old, new], {"new": new.uid}, {})
    assert names(joined) == ["new"]


def test_who_is_in_is_known_by_its_uid():
    old, new = joined_model("old", modelName="same"), joined_model("new", modelName="same", created="2026-02-01T00:00:00Z")
    assert names(join.join(model_server(), [old, new], {"new": "another's"}, {})) == ["old"]


def test_a_full_server_says_how_full():
    models = [joined_model(f"m{n}", created=f"2026-01-0{n}T00:00:00Z") for n in (1, 2, 3)]
    joined = join.join(model_server(maxModels=2), models, {}, {})
    assert names(joined) == ["m1", "m2"]
    assert joined.refused["m3"].reason is Reason.SERVER_FULL
    assert "holds 2 models and may hold 2" in joined.refused["m3"].message


def test_a_limit_that_is_lowered_puts_nobody_out():
    models = [joined_model(f"m{n}") for n in (1, 2, 3)]
    joined = join.join(model_server(maxModels=1, memoryBudget="1Mi"), models, {model.name: model.uid for model in models}, {"m1": 9 * MIB})
    assert names(joined) == ["m1", "m2", "m3"]


@pytest.mark.parametrize(
    ("memory", "sizes"),
    [({"memory": "700Mi"}, {}), ({}, {"m1": 600 * MIB, "m2": 600 * MIB})],
    ids=["declared", "by the size of the files"],
)
def test_a_budget_is_kept_with_the_arithmetic(memory, sizes):
    models = [joined_model("m1", **memory), joined_model("m2", **memory)]
    joined = join.join(model_server(memoryBudget="1Gi"), models, {}, sizes)
    assert names(joined) == ["m1"]
    said = joined.refused["m2"]
    assert said.reason is Reason.SERVER_FULL
    assert "has 1 GiB for models" in said.message
    assert ("700 MiB + 700 MiB is 376 MiB over" if memory else "720 MiB + 720 MiB is 416 MiB over") in said.message


def test_a_model_of_unknown_size_is_taken_in_and_told_of():
    joined = join.join(model_server(memoryBudget="1Gi"), [joined_model("m1"), joined_model("m2", memory="1Gi")], {}, {})
    assert names(joined) == ["m1", "m2"]
    assert (joined.unknown, joined.estimated_bytes) == (("m1",), 1024 * MIB)


def test_a_config_that_would_be_too_large_is_that_models_fault():
    models = [joined_model(f"m{n:04}", path="p" * 500) for n in range(500)]
    joined = join.join(model_server(maxModels=500), models, {}, {})
    refused = joined.refused["m0499"]
    assert refused.reason is Reason.CONFIG_TOO_LARGE
    assert f"it may have {model_config.MAX_BYTES}" in refused.message
    assert bytes_of(*joined.members.values()) <= model_config.MAX_BYTES


def test_one_that_comes_to_ask_for_too_much_puts_nobody_out():
    """Who is in is served: what is published of it stays, whoever has grown."""
    small = [joined_model(f"m{n:04}", path="p" * 500, created=f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z") for n in range(450)]
    joined = join.join(model_server(maxModels=500), small, {}, {})
    incumbents = {name: model.uid for name, model in joined.members.items()}
    grown = [dataclasses.replace(model, version_policy=model_config.All()) for model in small if model.name in incumbents]
    content = configmap.Content((), {}, "hash", False)
    after = join.join(model_server(maxModels=500), grown, incumbents, {}, functools.partial(held.keeping, content=content))
    assert after.members.keys() == incumbents.keys()
    assert {found.reason for found in after.refused.values()} == {Reason.CONFIG_TOO_LARGE}
    assert {name for name, model in after.members.items() if model.is_held} == set(after.refused)


def bytes_of(*models):
    """Return what models take in both files, each with a candidate on trial."""
    shares = []
    for model in models:
        policy = model.version_policy
        versions = policy.versions if isinstance(policy, model_config.Specific) else (1,)
        both = model_config.Specific((*versions[-100:], 2**63 - 1))
        on_trial = configs.Config(both, model.version_labels, both, 2**63 - 1, tuple(sorted(versions)))
        shares.append(configmap.share(model, on_trial, model_server(batching={"maxBatchSize": 65536}).server))
    data = configmap.data(shares, agent_config.Readiness.PER_MODEL)
    return sum(len(data[name].encode()) for name in ("models.config", "agent.json"))


@given(
    st.integers(1, 63), st.integers(0, 200), st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=20, unique=True), st.integers(0, 8)
)
def test_what_an_entry_takes_is_never_underestimated(name, path, versions, labels):
    model = joined_model(
        "m", modelName="m" * name, path="p" * path, versionPolicy={"specific": {"versions": versions}},
        versionLabels={"l" * (n + 55): versions[0] for n in range(labels)}, warmup={"policy": "Required", "minRecords": 1000},
    )  # fmt: skip
    assert bytes_of(model) <= join.entry_bytes(model)


@given(st.permutations([joined_model(f"m{n}", modelName=f"x{n % 4}", created=f"2026-01-0{n}T00:00:00Z", memory=f"{n}00Mi") for n in range(1, 8)]))
def test_the_order_in_which_models_come_makes_no_difference(models):
    server, incumbents = model_server(maxModels=3, memoryBudget="1Gi"), {"m5": "uid-of-m5"}
    joined = join.join(server, models, incumbents, {})
    assert names(joined) == ["m2", "m3", "m5"], "m5 is in, m1 has its model name, and the two others are the oldest for which there is room"
    assert join.join(server, sorted(models, key=lambda model: model.name), incumbents, {}).refused == joined.refused


@given(st.permutations([joined_model(f"m{n}", memory=f"{n}00Mi") for n in range(1, 8)]), st.sets(st.sampled_from([f"m{n}" for n in range(1, 8)])))
def test_members_are_within_the_budget_and_stay(models, gone):
    """What joined once stays, whoever comes or goes, and newcomers never go over the budget."""
    server = model_server(memoryBudget="1500Mi")
    first = join.join(server, models, {}, {})
    assert first.estimated_bytes <= 1500 * MIB
    incumbents = {name: model.uid for name, model in first.members.items()}
    left = [model for model in models if model.name not in gone]
    second = join.join(server, left, incumbents, {})
    assert set(first.members) - gone <= set(second.members)
    assert second.estimated_bytes <= 1500 * MIB
    assert join.join(server, left, {name: model.uid for name, model in second.members.items()}, {}) == second


def test_the_record_is_read_as_it_was_written():
    joined = join.join(model_server(), [joined_model("a"), joined_model("b")], {}, {})
    live = {"metadata": {"annotations": {"serving.tfmodel.dev/members": join.record(joined.members)}}}
    assert join.incumbents(live) == {name: model.uid for name, model in joined.members.items()}


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '"a"', "null"])
def test_a_record_that_cannot_be_read_is_none(text):
    assert join.incumbents({"metadata": {"annotations": {"serving.tfmodel.dev/members": text}}}) == {}
