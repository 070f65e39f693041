from __future__ import annotations

import os

import pytest

from tfmodel_serving import saved_model
from tfmodel_serving.saved_model import Verdict


def write(base, *names):
    for name in names:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def verdict(base, version):
    """The verdict after two looks at unchanged files."""
    first = saved_model.look(str(base))
    return saved_model.settle(saved_model.look(str(base))[version], first[version])


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("007", 7), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("0", None), ("-4", None), ("1.tmp", None),
     ("v2", None), ("..data", None), ("lost+found", None), ("\uff11", None), ("9" * 5000, None)],
)  # fmt: skip
def test_only_positive_numbers_are_versions(name, version):
    assert saved_model.parse_version(name) == version


def test_a_complete_version_is_verified_after_two_equal_looks(tmp_path):
    write(tmp_path, "1/saved_model.pb", "1/variables/variables.index", "1/variables/variables.data-00000-of-00001")
    first = saved_model.look(str(tmp_path))[1]
    assert saved_model.settle(first, None).verdict is Verdict.INCOMPLETE
    assert saved_model.settle(saved_model.look(str(tmp_path))[1], first).verdict is Verdict.VERIFIED


def test_a_version_whose_files_change_is_incomplete(tmp_path):
    write(tmp_path, "1/saved_model.pb")
    first = saved_model.look(str(tmp_path))[1]
    (tmp_path / "1/saved_model.pb").write_bytes(b"xx")
    assert saved_model.settle(saved_model.look(str(tmp_path))[1], first).message == "files are still being written"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["1/assets/vocabulary.txt"], "saved_model.pb is missing", id="no saved_model.pb"),
        pytest.param(
            ["1/saved_model.pb", "1/variables/variables.data-00000-of-00001"],
            "variables/variables.index is missing",
            id="no index",
        ),
        pytest.param(
            ["1/saved_model.pb", "1/variables/variables.index", "1/variables/variables.data-00000-of-00002"],
            "variables/variables.data-00001-of-00002 is missing",
            id="a shard is missing",
        ),
        pytest.param(
            ["1/saved_model.pb", "1/variables/variables.index"], "variables/variables.data-* is missing", id="no shard at all"
        ),
    ],
)
def test_a_half_copied_version_is_incomplete(tmp_path, names, message):
    write(tmp_path, *names)
    found = verdict(tmp_path, 1)
    assert (found.verdict, found.message) == (Verdict.INCOMPLETE, message)


def test_what_is_no_directory_or_no_file_is_rejected(tmp_path):
    write(tmp_path, "1", "2/saved_model.pb", "outside/secret")
    (tmp_path / "3").mkdir()
    os.mkfifo(tmp_path / "3/saved_model.pb")
    base = tmp_path / "base"
    write(base, "4/saved_model.pb")
    (base / "4/secret").symlink_to(tmp_path / "outside/secret")
    (base / "5").symlink_to(tmp_path / "2")
    assert verdict(tmp_path, 1).message == "it is not a directory"
    assert verdict(tmp_path, 3).message == "saved_model.pb is not a regular file"
    assert verdict(base, 4).message == "secret is a link that leaves the base path"
    assert verdict(base, 5).message == "it is a link that leaves the base path"
    assert {verdict(where, v).verdict for where, v in ((tmp_path, 1), (tmp_path, 3), (base, 4), (base, 5))} == {Verdict.REJECTED}


@pytest.mark.parametrize("path", ["missing", "file"])
def test_a_base_path_that_cannot_be_listed_is_unavailable(tmp_path, path):
    write(tmp_path, "file")
    with pytest.raises(saved_model.SourceUnavailable, match=path):
        saved_model.look(str(tmp_path / path))
