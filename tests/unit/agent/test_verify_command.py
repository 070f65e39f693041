"""`python -m tfmodel_agent verify`, as a pipeline runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import savedmodels
from tfmodel_agent import verify

OPERATOR = Path(verify.__file__).parent.parent


@pytest.fixture
def models(tmp_path):
    savedmodels.place("half_plus_two", tmp_path / "3")
    savedmodels.write_warmup(tmp_path / "3", [savedmodels.predict_record(x=[1.0] * 8)] * 12)
    savedmodels.spoil(savedmodels.place("half_plus_two", tmp_path / "4"), "no data shard")
    savedmodels.spoil(savedmodels.place("half_plus_two", tmp_path / "5"), "truncated saved_model.pb")
    (tmp_path / "tmp").mkdir()
    return tmp_path


def said(capsys, *arguments):
    code = verify.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_one_json_object_says_it_all(models, capsys):
    code, output = said(capsys, models, "--json")
    assert code == 0
    assert output.count("\n") == 1
    document = json.loads(output)
    assert document["ignored"] == ["tmp"]
    short, broken, good = document["versions"]
    assert list(good) == ["version", "verdict", "reason", "message", "digest", "signatures", "warmupRecords", "warnings", "sizeBytes"]
    assert (good["version"], good["verdict"], good["reason"], good["message"], good["warnings"]) == (3, "Verified", "", "", [])
    assert good["warmupRecords"] == 12
    assert good["digest"].startswith("sha256:")
    predict = good["signatures"]["serving_default"]
    assert (list(predict), predict["method"], list(predict["outputs"])) == (["method", "inputs", "outputs"], "tensorflow/serving/predict", ["y"])
    assert predict["inputs"] == {"x": {"dtype": "DT_FLOAT", "shape": [-1], "name": "serving_default_x:0"}}
    assert (broken["verdict"], broken["message"]) == ("Incomplete", "variables/variables.data-00000-of-00001 is missing")
    assert (short["verdict"], short["reason"]) == ("Rejected", "VersionRejected")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], ""),
        (["--max-batch-size", "4"], "WarmupInvalid"),
        (["--max-batch-size", "8"], ""),
        (["--warmup", "Required", "--min-records", "13"], "WarmupMissing"),
        (["--warmup", "Required"], ""),
        (["--max-batch-size", "4", "--warmup", "Ignore"], ""),
    ],
)
def test_flags_are_those_of_the_agent(models, capsys, arguments, reason):
    _, output = said(capsys, models, "--json", "--settle", "0", "--no-digests", *arguments)
    assert json.loads(output)["versions"][2]["reason"] == reason


def test_the_table_is_for_people(models, capsys):
    code, output = said(capsys, models, "--exit-code")
    assert code == 1
    assert [line.split()[:2] for line in output.splitlines()] == [
        ["VERSION", "VERDICT"], ["5", "Rejected"], ["4", "Incomplete"], ["3", "Verified"], ["Ignored:", "tmp"],
    ]  # fmt: skip
    assert "classify_x_to_y, regress_x_to_y, serving_default" in output


def test_a_missing_base_path_is_a_reason_too(tmp_path, capsys):
    code, output = said(capsys, tmp_path / "missing", "--json")
    assert (code, json.loads(output)["reason"]) == (2, "SourceUnavailable")


def test_a_directory_without_versions_is_no_success(models, capsys):
    code, output = said(capsys, models / "tmp", "--exit-code")
    assert (code, output) == (1, "no version found\n")
    code, output = said(capsys, models / "3", "--exit-code", "--json")
    document = json.loads(output)
    assert (code, document["versions"], document["reason"]) == (1, [], "NoVersionFound")
    assert document["message"] == "no version found: this is a version itself, give the directory above it"


def test_it_runs_as_a_module(models):
    command = [sys.executable, "-m", "tfmodel_agent", "verify", str(models), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(OPERATOR)}).stdout
    assert [row["version"] for row in json.loads(output)["versions"]] == [5, 4, 3]
