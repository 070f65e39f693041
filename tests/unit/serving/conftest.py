"""Makers of versions to be judged: SavedModels made by TensorFlow once per machine, and damaged by hand."""

from __future__ import annotations

import dataclasses

import pytest

from tests import savedmodels
from tfmodel_serving import saved_model, warmup

NOW = 1000.0


@dataclasses.dataclass
class Version:
    """One version directory below a base path of its own."""

    base: object
    number: int = 1

    @property
    def path(self):
        return self.base / str(self.number)

    def place(self, kind="half_plus_two"):
        savedmodels.place(kind, self.path)
        return self

    def damage(self, how):
        savedmodels.spoil(self.path, how)
        return self

    def warm(self, *records, tail=b""):
        savedmodels.write_warmup_file(
            self.path,
            b"".join(savedmodels.framed(r if isinstance(r, bytes) else r.SerializeToString()) for r in records) + tail,
        )
        return self

    def judged(self, *, after=1.0, **settings):
        """The finding after a second look at unchanged files, ``after`` seconds."""
        rules = {name: settings.pop(name) for name in ("policy", "min_records", "max_batch_size") if name in settings}
        strictness = saved_model.Settings(warmup.Rules(**rules), **settings)
        first = saved_model.look_at(str(self.base), str(self.number), None, strictness, NOW)
        return saved_model.look_at(str(self.base), str(self.number), first, strictness, NOW + after).finding


@pytest.fixture
def version(tmp_path):
    """A version directory that isn't there yet."""
    return Version(tmp_path / "models")
