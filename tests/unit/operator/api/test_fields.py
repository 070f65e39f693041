"""`docs/api.md` says of every field what it changes. It is complete, and it is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import fields, schema

PAGE = Path(__file__).resolve().parents[4] / "docs/api.md"
ROW = re.compile(r"^\| `([^`]+)` \| ([^|`]+) \| .+ \|$", re.MULTILINE)


def table() -> dict[str, set[str]]:
    text = PAGE.read_text().partition("## What each field of `spec` changes")[2].partition("\n## ")[0]
    rows = ROW.findall(text)
    assert len(rows) == len(dict(rows)), "a field has two rows"
    return {field: set(changes.split(", ")) for field, changes in rows}


ROWS = table()


def rows_of(leaf: str) -> list[str]:
    return [row for row in ROWS if row == leaf or (row.endswith(".*") and leaf.startswith(row.removesuffix("*")))]


@pytest.mark.parametrize("leaf", fields.leaves())
def test_every_leaf_of_the_schema_has_its_row(leaf):
    assert len(rows_of(leaf)) == 1


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_about_a_leaf_of_the_schema(row):
    assert [leaf for leaf in fields.leaves() if row in rows_of(leaf)]


@pytest.mark.parametrize("leaf", fields.leaves())
def test_a_change_of_the_leaf_changes_what_its_row_says(leaf):
    (row,) = rows_of(leaf)
    before = fields.planned(fields.base(leaf))
    changes = [fields.differences(before, fields.planned(body)) for body in fields.changed(leaf)]
    assert all(changes), "a value that changes nothing"
    assert set.union(*changes) == ROWS[row]


def test_the_full_sample_has_every_leaf():
    for leaf in fields.leaves():
        holder, name = fields.find(fields.base(leaf)["spec"], leaf)
        assert name in holder, leaf


@pytest.mark.parametrize("kind", ["TFModel", "TFModelServer"])
def test_every_field_is_described_and_bounded(kind):
    def look(part: schema.Schema, path: str) -> None:
        assert part.get("description"), path
        match part.get("type", "string"):
            case "string":
                assert "maxLength" in part or "enum" in part or part.get("format") == "date-time", path
            case "array":
                assert {"maxItems", "x-kubernetes-list-type"} <= part.keys(), path
                members(part["items"], f"{path}[]")
            case "object" if "additionalProperties" in part:
                assert "maxProperties" in part, path
        members(part, path)

    def members(part: schema.Schema, path: str) -> None:
        for name, member in part.get("properties", {}).items():
            look(member, f"{path}.{name}")

    for part in ("spec", "status"):
        members(schema.schema(kind)["properties"][part], part)


def test_every_field_about_sharing_has_its_row():
    text = PAGE.read_text().partition("## Shared servers: what each field changes")[2].partition("\n## ")[0]
    rows = {field for field, _ in ROW.findall(text)}
    theirs = {path for path, _ in schema.leaves(schema.schema("TFModelServer")["properties"]["spec"])}
    servers = {path.removeprefix("server.") for path in fields.leaves() if path.startswith("server.")}
    assert servers <= theirs, "a TFModelServer has all fields of spec.server"
    assert rows == fields.SHARING | (theirs - servers)


def test_numbers_are_bounded_in_spec():
    for path, leaf in fields.leaves().items():
        if leaf.get("type") == "integer":
            assert "minimum" in leaf, path


def test_defaults_are_told():
    """`kubectl explain` doesn't show them."""
    for path, leaf in fields.leaves().items():
        default = leaf.get("default")
        if default not in (None, "", {}) and not isinstance(default, dict):
            said = str(default).lower() if isinstance(default, bool) else str(default)
            assert f"Default: {said}." in leaf["description"], path
