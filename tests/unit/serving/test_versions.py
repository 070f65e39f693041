from __future__ import annotations

import pytest

from tfmodel_serving import model_config, saved_model, versions
from tfmodel_serving.model_config import All, Latest, Specific


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("007", 7), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("0", None), ("-4", None), ("1.tmp", None), ("3.tmp", None),
     ("v2", None), ("..data", None), ("lost+found", None), ("\uff11", None), ("README", None), ("9" * 5000, None)],
)  # fmt: skip
def test_only_positive_numbers_are_versions(name, version):
    assert versions.parse_version(name) == version


def test_versions_and_what_is_none_are_told_apart(tmp_path):
    for name in ("1", "007", "7", "v2", "0", "-4", "tmp"):
        (tmp_path / name).mkdir()
    found = versions.list_versions(str(tmp_path))
    assert found.directories == {1: "1", 7: "7"}
    assert found.ignored == ("-4", "0", "007", "tmp", "v2")


@pytest.mark.parametrize(("path", "says"), [("missing", "does not exist"), ("file", "can't be listed"), ("null\0byte", "can't be listed")])
def test_a_base_path_that_cannot_be_listed_is_unavailable(tmp_path, path, says):
    (tmp_path / "file").touch()
    with pytest.raises(versions.SourceUnavailable, match=says):
        versions.list_versions(f"{tmp_path}/{path}")


def test_a_base_path_with_too_many_entries_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "MAX_ENTRIES", 3)
    for name in range(4):
        (tmp_path / str(name)).mkdir()
    with pytest.raises(versions.SourceUnavailable, match="more than 3 entries"):
        versions.list_versions(str(tmp_path))


@pytest.mark.parametrize(
    ("policy", "looked_at"),
    [
        pytest.param(Latest(1), {9, 8, 7}, id="latest: the newest, and some below it"),
        pytest.param(Specific((1, 3, 50)), {9, 8, 3, 1}, id="specific: those named, however old, and some newest"),
        pytest.param(All(), set(range(1, 10)), id="all"),
    ],
)
def test_a_volume_with_many_old_versions_costs_only_those_that_may_be_wanted(tmp_path, monkeypatch, policy, looked_at):
    monkeypatch.setattr(saved_model, "MAX_EXTRA_VERSIONS", 2)
    for version in range(1, 10):
        (tmp_path / str(version)).mkdir()
    looks = saved_model.look(model_config.Model("half", str(tmp_path), policy), {}, saved_model.Settings(), 0.0)
    assert set(looks) == looked_at
    watching = saved_model.look(
        model_config.Model("half", str(tmp_path), policy), {}, saved_model.Settings(), 0.0, watched=(2, 60)
    )
    assert set(watching) == looked_at | {2}
