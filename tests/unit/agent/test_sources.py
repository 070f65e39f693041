"""What the agent knows of its volumes, and when."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import threading

import pytest

from tests import savedmodels
from tfmodel_agent import digests, sources
from tfmodel_serving import saved_model
from tfmodel_serving.agent_config import ModelSettings
from tfmodel_serving.model_config import All, Latest, Model, Specific
from tfmodel_serving.saved_model import Verdict


@pytest.fixture
def half(tmp_path):
    savedmodels.place("half_plus_two", tmp_path / "half/1")
    return Model("half", str(tmp_path / "half"))


async def looked(known, models, until, settings=None):
    """Look until ``until`` is true of what is known of the first model, at most 10 s."""
    async with asyncio.timeout(10):
        while True:
            wanted = await known.look(models, settings or {})
            if until(wanted[0]):
                return wanted
            await asyncio.sleep(0.02)


def run(coroutine):
    async def closing():
        known = sources.Sources()
        try:
            return await coroutine(known)
        finally:
            await known.close()

    return asyncio.run(closing())


def test_a_version_is_verified_by_the_second_look_and_has_its_digest_later(half, tmp_path):
    async def scene(known):
        (first,) = await known.look([half], {})
        assert first.findings[1].verdict is Verdict.INCOMPLETE
        (second,) = await known.look([half], {})
        assert second.findings[1].verdict is Verdict.VERIFIED
        assert list(second.findings[1].signatures) == ["classify_x_to_y", "regress_x_to_y", "serving_default"]
        assert not any(signature.inputs for signature in second.findings[1].signatures.values()), "megabytes, in bad hands"
        assert known.directory("half", 1) == f"{tmp_path}/half/1"
        assert known.directory("half", 2) is None
        (third,) = await looked(known, [half], lambda wanted: wanted.findings[1].digest)
        assert third.findings[1].digest.startswith("sha256:")

    run(scene)


def test_digests_are_made_of_what_may_be_served_and_anew_when_files_change(half, tmp_path):
    savedmodels.place("half_plus_three", tmp_path / "half/2")

    async def scene(known):
        (wanted,) = await looked(known, [half], lambda wanted: wanted.findings[2].digest)
        assert not wanted.findings[1].digest, "Latest(1) serves the newest"
        (tmp_path / "half/2/new").touch()
        (writing,) = await known.look([half], {})
        assert (writing.findings[2].verdict, writing.findings[2].digest) == (Verdict.INCOMPLETE, "")
        (changed,) = await looked(known, [half], lambda found: found.findings[2].digest)
        assert changed.findings[2].digest != wanted.findings[2].digest

    run(scene)


def test_watched_versions_have_digests_although_nothing_asks_for_them(half, tmp_path):
    savedmodels.place("half_plus_two", tmp_path / "half/2")
    watching = {"half": ModelSettings(watched=(1, 9))}

    async def scene(known):
        (wanted,) = await looked(known, [half], lambda found: found.findings[1].digest, watching)
        assert wanted.watched == {1, 9}

    run(scene)


def test_a_version_may_be_a_link_to_another_place_of_its_mount(half, tmp_path):
    (tmp_path / "half/1").rename(tmp_path / "release")
    (tmp_path / "half/1").symlink_to("../release")

    async def scene(known):
        (wanted,) = await looked(known, [half], lambda wanted: wanted.findings[1].digest)
        assert wanted.verified == {1}

    run(scene)


def test_files_the_agent_fails_on_are_no_trouble_of_the_models_beside_them(half, tmp_path, monkeypatch):
    savedmodels.place("half_plus_three", tmp_path / "other/1")
    scandir = os.scandir

    def failing(path):
        if str(path).startswith(half.base_path):
            raise MemoryError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)

    async def scene(known):
        other = Model("other", str(tmp_path / "other"))
        (bad, good) = await looked(known, [half, other], lambda _: known.directory("other", 1))
        (bad, good) = await looked(known, [half, other], lambda _: True)
        assert good.findings[1].verdict is Verdict.VERIFIED
        assert "can't be judged, by a fault of the agent: MemoryError()" in bad.source_message
        monkeypatch.undo()
        await looked(known, [half, other], lambda found: found.verified == {1})

    run(scene)


@pytest.mark.parametrize(("named", "hashed"), [((1,), {1, 6, 7}), ((6,), {6, 7}), ((7,), {7})], ids=str)
def test_the_newest_versions_have_digests_where_that_is_asked_for(half, tmp_path, named, hashed):
    """Above what is served there are those that failed: new files are to be noticed in each."""
    for version in (6, 7):
        savedmodels.place("half_plus_two", tmp_path / f"half/{version}")
    pinned = dataclasses.replace(half, version_policy=Specific(named))

    async def scene(known):
        (found,) = await looked(
            known, [pinned], lambda found: all(found.findings[v].digest for v in hashed), {"half": ModelSettings(watches_newest=True)}
        )
        assert {v for v, one in found.findings.items() if one.digest} == hashed

    run(scene)


def test_one_process_at_a_time_makes_a_digest_once(half, tmp_path, monkeypatch):
    savedmodels.place("half_plus_three", tmp_path / "half/2")
    running, tasks, run_one = 0, [], digests._run

    async def counted(task):
        nonlocal running
        running += 1
        assert running == 1
        tasks.append(json.loads(task)["directory"].rpartition("/")[2])
        try:
            return await run_one(task)
        finally:
            running -= 1

    monkeypatch.setattr(digests, "_run", counted)

    async def scene(known):
        both = dataclasses.replace(half, version_policy=All())
        await looked(known, [both], lambda wanted: wanted.findings[1].digest and wanted.findings[2].digest)
        await known.look([both], {})
        assert sorted(tasks) == ["1", "2"]

    run(scene)


def test_a_digest_that_cannot_be_made_is_not_tried_again_and_again(half, monkeypatch):
    tried = []

    async def failing(task):
        tried.append(task)
        return {"message": "the process ended with -9"}

    monkeypatch.setattr(digests, "_run", failing)

    async def scene(known):
        await looked(known, [half], lambda wanted: wanted.verified and tried)
        for _ in range(5):
            await known.look([half], {})
        assert len(tried) == 1

    run(scene)


def test_files_that_change_while_they_are_hashed_have_no_digest(half, tmp_path, monkeypatch):
    run_one, done = digests._run, asyncio.Event()

    async def late(task):
        (tmp_path / "half/1/new").touch()
        done.set()
        return await run_one(task)

    monkeypatch.setattr(digests, "_run", late)

    async def scene(known):
        (first,) = await looked(known, [half], lambda wanted: wanted.verified)
        async with asyncio.timeout(10):
            await done.wait()
            await known._digests._working
        assert known._digests.get("half", 1, first.fingerprints[1]) == ""

    run(scene)


def test_without_digests_none_are_made(half):
    async def scene(known):
        await looked(known, [half], lambda wanted: wanted.findings[1].verdict is Verdict.VERIFIED, {"half": ModelSettings(digests=False)})
        assert known._digests._working is None

    run(scene)


def test_the_settings_of_a_model_are_applied(half):
    async def scene(known):
        settings = {"half": ModelSettings(warmup_policy="Required")}
        (wanted,) = await looked(known, [half], lambda wanted: "warmup" in wanted.findings[1].message, settings)
        assert "tf_serving_warmup_requests is missing" in wanted.findings[1].message

    run(scene)


def test_a_volume_that_is_gone_is_told_and_its_return_too(half, tmp_path):
    async def scene(known):
        await looked(known, [half], lambda wanted: wanted.verified)
        (tmp_path / "half").rename(tmp_path / "away")
        (gone,) = await known.look([half], {})
        assert "does not exist" in gone.source_message
        (tmp_path / "away").rename(tmp_path / "half")
        (back,) = await known.look([half], {})
        assert back.verified == {1}, "nothing has changed"

    run(scene)


def test_a_look_that_takes_long_holds_up_nobody(half, tmp_path, monkeypatch):
    """A volume hangs: what is known stays known, and the other models are looked at."""
    savedmodels.place("half_plus_two", tmp_path / "other/1")
    other = Model("other", str(tmp_path / "other"), Latest(1))
    hang, look = threading.Event(), saved_model.look

    def hanging(model, *arguments):
        if model.name == "half" and stuck:
            assert hang.wait(10)
        return look(model, *arguments)

    monkeypatch.setattr(saved_model, "look", hanging)
    monkeypatch.setattr(sources, "volume", lambda base_path: base_path)
    stuck = False

    async def scene(known):
        nonlocal stuck
        await looked(known, [half, other], lambda wanted: wanted.verified)
        await known.look([half, other], {})
        stuck = True
        savedmodels.place("half_plus_three", tmp_path / "half/2")
        savedmodels.place("half_plus_three", tmp_path / "other/2")
        one, two = [await known.look([half, other], {}) for _ in range(2)][-1]
        assert (set(one.findings), set(two.findings)) == ({1}, {1, 2})
        hang.set()
        await looked(known, [half, other], lambda wanted: 2 in wanted.findings)

    run(scene)


def test_a_volume_that_hangs_from_the_first_look_on_holds_up_no_other(half, tmp_path, monkeypatch):
    savedmodels.place("half_plus_two", tmp_path / "other/1")
    hang, look = threading.Event(), saved_model.look
    monkeypatch.setattr(saved_model, "look", lambda model, *rest: (model.name == "other" or hang.wait(10)) and look(model, *rest))
    monkeypatch.setattr(sources, "volume", lambda base_path: base_path)
    models = [half, Model("other", str(tmp_path / "other"))]

    async def scene(known):
        await known.look(models, {})
        monkeypatch.setattr(sources, "FIRST_LOOK_SECONDS", 3600.0)  # who was waited for once isn't waited for again
        async with asyncio.timeout(10):
            one, two = await known.look(models, {})
        assert "the volume is slow" in one.source_message
        assert two.verified == {1}
        hang.set()
        await looked(known, models, lambda wanted: wanted.verified)

    run(scene)


@pytest.mark.parametrize(
    ("base_path", "mount"),
    [("/models/claim/some/path", "/models/claim"), ("/models/claim", "/models/claim"), ("/models/claim/", "/models/claim")],
)
def test_models_of_one_claim_are_on_one_volume(base_path, mount):
    assert sources.volume(base_path) == mount


def test_while_a_new_base_path_has_not_been_looked_at_nothing_is_known_of_it(half, tmp_path, monkeypatch):
    savedmodels.place("half_plus_two", tmp_path / "new/5")
    moved = Model("half", str(tmp_path / "new"))
    hang, look = threading.Event(), saved_model.look

    async def scene(known):
        await looked(known, [half], lambda wanted: wanted.verified)
        monkeypatch.setattr(saved_model, "look", lambda *arguments: hang.wait(10) and look(*arguments))
        (wanted,) = await known.look([moved], {})
        assert (wanted.findings, wanted.source_message) == (
            {},
            f"base path {tmp_path}/new has not been looked at yet: the volume is slow to answer",
        )
        hang.set()
        await looked(known, [moved], lambda wanted: set(wanted.findings) == {5})

    run(scene)


def test_a_model_whose_base_path_changes_is_not_judged_by_the_old_one(half, tmp_path):
    savedmodels.place("half_plus_two", tmp_path / "new/5")
    moved = Model("half", str(tmp_path / "new"))

    async def scene(known):
        await looked(known, [half], lambda wanted: wanted.verified)
        (wanted,) = await looked(known, [moved], lambda wanted: not wanted.source_message)
        assert set(wanted.findings) == {5}
        assert wanted.findings[5].verdict is Verdict.INCOMPLETE
        assert await known.look([], {}) == ()

    run(scene)
