"""Which directories are versions, and what a poll reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.modelserver import source, status
from tests.modelserver.protos import model_server_config_pb2


def model(base_path: Path, policy: str = "", name: str = "m") -> Any:
    config = model_server_config_pb2.ModelConfig(name=name, base_path=str(base_path))
    if policy:
        kind, _, numbers = policy.partition(" ")
        getattr(config.model_version_policy, kind).SetInParent()
        if kind == "specific":
            config.model_version_policy.specific.versions.extend(map(int, numbers.split()))
        elif numbers:
            config.model_version_policy.latest.num_versions = int(numbers)
    return config


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        pytest.param("", [3], id="the default is the latest one"),
        pytest.param("latest 0", [3], id="zero counts as one"),
        pytest.param("latest 2", [3, 2], id="two"),
        pytest.param("all", [-4, 0, 1, 2, 3], id="all, with negative ones and zero"),
        pytest.param("specific 1 3", [1, 3], id="specific"),
        pytest.param("specific 1 9", [1], id="an absent one is left out"),
        pytest.param("specific", [], id="none"),
        pytest.param("specific 2", [2], id="under another spelling"),
    ],
)
def test_versions_by_policy(tmp_path: Path, policy: str, versions: list[int]) -> None:
    for name in ("1", "002", "3", "0", "-4", "v2", "3.tmp", "٣", "9223372036854775808", "lost+found"):
        (tmp_path / name).mkdir()
    found = [version for version, _ in source.versions_of(model(tmp_path, policy))]
    assert (sorted(found) if policy == "all" else found) == versions


def test_a_missing_base_path_names_itself(tmp_path: Path) -> None:
    with pytest.raises(status.StatusError, match=r"Could not find base path .*/gone for servable m"):
        source.versions_of(model(tmp_path / "gone"))


def test_one_missing_base_path_keeps_all_models_from_being_reported(tmp_path: Path) -> None:
    (tmp_path / "good" / "1").mkdir(parents=True)
    reported: list[str] = []
    polled = source.PathSource(lambda name, versions: reported.append(name))
    good, gone = model(tmp_path / "good", name="good"), model(tmp_path / "gone", name="gone")
    polled.update([good, gone])
    polled.poll()
    assert reported == []
    polled.update([good])
    assert reported == ["gone"]  # un-aspired at once, without a poll
    polled.poll()
    assert reported == ["gone", "good"]


def test_an_empty_base_path_is_reported_as_no_versions(tmp_path: Path) -> None:
    reported: dict[str, Any] = {}
    polled = source.PathSource(lambda name, versions: reported.update({name: list(versions)}))
    polled.update([model(tmp_path)])
    polled.poll()
    assert reported == {"m": []}
