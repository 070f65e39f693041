from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfmodel_serving import digest, files
from tfmodel_serving.problems import Problem, Unsettled

OPERATOR = Path(digest.__file__).parent.parent


def listed(version):
    return files.scan(str(version.base), str(version.number))


def test_the_digest_is_what_its_docstring_says(version):
    """So that anybody can compute it elsewhere."""
    version.place()
    expected = hashlib.sha256()
    paths = sorted((path for path in version.path.rglob("*") if path.is_file()), key=lambda path: os.fsencode(path.relative_to(version.path)))
    for path in paths:
        name, content = os.fsencode(path.relative_to(version.path)), path.read_bytes()
        expected.update(b"%s %d %d:%s\n" % (hashlib.sha256(content).hexdigest().encode(), len(content), len(name), name))
    assert digest.digest(listed(version)).value == f"sha256:{expected.hexdigest()}"


def test_equal_content_has_an_equal_digest_wherever_and_whenever_it_was_written(version, tmp_path):
    import shutil

    version.place()
    shutil.copytree(version.path, tmp_path / "other" / "7")
    assert digest.digest(files.scan(str(tmp_path / "other"), "7")).value == digest.digest(listed(version)).value


@pytest.mark.parametrize("change", ["content", "name", "new file"])
def test_other_content_has_another_digest(version, change):
    before = digest.digest(listed(version.place())).value
    file = version.path / "fingerprint.pb"
    match change:
        case "content":
            content = file.read_bytes()
            file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        case "name":
            file.rename(version.path / "fingerprint2.pb")
        case "new file":
            (version.path / "empty").touch()
    assert digest.digest(listed(version)).value != before


def test_only_files_that_have_changed_are_read_again(version, monkeypatch):
    first = digest.digest(listed(version.place()))
    (version.path / "fingerprint.pb").write_bytes(b"changed")
    read = []
    opened = files.opened
    monkeypatch.setattr(files, "opened", lambda listing, name: read.append(name) or opened(listing, name))
    second = digest.digest(listed(version), first.known)
    assert read == ["fingerprint.pb"]
    assert second.value == digest.digest(listed(version)).value != first.value
    assert digest.from_dict(json.loads(json.dumps(digest.to_dict(second.known)))) == second.known


def test_a_file_that_changes_meanwhile_has_no_digest(version):
    listing = listed(version.place())
    (version.path / "fingerprint.pb").write_bytes(b"changed")
    with pytest.raises(Unsettled):
        digest.digest(listing)


def test_a_file_with_a_hole_of_any_size_is_not_read_for_ever(version):
    os.truncate(version.place().path / "fingerprint.pb", digest.MAX_BYTES + 1)
    with pytest.raises(Problem, match="too many for a digest"):
        digest.digest(listed(version))
    assert version.judged(is_hashed=True).digest == ""


def run(task):
    command = [sys.executable, "-m", "tfmodel_serving.digest"]
    environment = os.environ | {"PYTHONPATH": str(OPERATOR)}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment), json.dumps(task)


def test_as_a_program_it_says_the_same_at_the_lowest_priority(version):
    version.place()
    process, task = run({"base_path": str(version.base), "directory": "1", "known": {}})
    deadline = time.monotonic() + 10
    while os.getpriority(os.PRIO_PROCESS, process.pid) != 19:  # before it has read its task
        assert time.monotonic() < deadline
        time.sleep(0.005)
    answer = json.loads(process.communicate(task)[0])
    assert answer["digest"] == digest.digest(listed(version)).value
    process, task = run({"base_path": str(version.base), "directory": "2", "known": {}})
    assert json.loads(process.communicate(task)[0]) == {"message": "files are still being written"}
