"""Which comparisons are made, and when; with real ones, of a model server faked at the transport."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from tests import savedmodels
from tests.unit.agent.prediction_server import PredictionServer, Refusal, line
from tfmodel_agent import compare, comparisons, history, steps
from tfmodel_agent.comparisons import Comparisons, Pair, Wish
from tfmodel_serving import state
from tfmodel_serving.agent_config import ModelSettings, Promoted
from tfmodel_serving.model_config import Latest, Model, Specific
from tfmodel_serving.saved_model import Finding, Verdict

PROMOTED, CANDIDATE = compare.Side("half", 1), compare.Side("half--candidate", 2)
NAME = CANDIDATE.model
ASKED = {NAME: ModelSettings(compare_with=Promoted("half", 1))}


def verified(records=0):
    return Finding(Verdict.VERIFIED, warmup_records=records)


def wanted(name, policy, findings, source_message=""):
    fingerprints = {version: f"files of {version}" for version in findings}
    return steps.Wanted(Model(name, "/half", policy), findings, fingerprints, source_message)


def look(findings, *, states=("AVAILABLE", "AVAILABLE"), source_message="", policy=Specific((2,)), settings=ASKED):
    every = [wanted("half", Specific((1,)), findings, source_message), wanted(NAME, policy, findings, source_message)]
    seen = {"half": {1: history.ServerVersion(states[0])}, NAME: {2: history.ServerVersion(states[1])}}
    return comparisons.wishes(every, settings, history.Seen(seen))


@pytest.mark.parametrize(
    ("findings", "requests", "waits_for"),
    [
        pytest.param({1: verified(3), 2: verified(5)}, CANDIDATE, "", id="the candidate's own requests"),
        pytest.param({1: verified(3), 2: verified()}, PROMOTED, "", id="the promoted version's"),
        pytest.param({1: verified(), 2: verified()}, None, "", id="nobody's"),
        pytest.param({2: verified(5)}, CANDIDATE, "", id="a promoted version that is gone from the volume"),
        pytest.param({2: verified()}, None, "", id="and has taken the requests along"),
        pytest.param({1: verified(3)}, PROMOTED, "", id="a candidate that is gone from the volume"),
        pytest.param(
            {1: verified(3), 2: Finding(Verdict.INCOMPLETE)}, CANDIDATE, "the files of version 2 have not been verified",
            id="a candidate that was not looked at twice",
        ),
        pytest.param(
            {1: Finding(Verdict.INCOMPLETE), 2: verified()}, PROMOTED, "the files of version 1 have not been verified",
            id="a promoted version that was not looked at twice",
        ),
        pytest.param({1: Finding(Verdict.INCOMPLETE), 2: verified(5)}, CANDIDATE, "", id="which does not matter"),
    ],
)  # fmt: skip
def test_whose_requests_are_taken(findings, requests, waits_for):
    wish = look(findings)[NAME]
    assert (wish.requests, wish.waits_for) == (requests, waits_for)


def test_both_versions_must_be_available():
    wish = look({1: verified(3), 2: verified(5)}, states=("AVAILABLE", "LOADING"))[NAME]
    assert wish.waits_for == "version 2 of half--candidate is LOADING"
    wish = comparisons.wishes([wanted(NAME, Specific((2,)), {2: verified(5)})], ASKED, history.Seen())[NAME]
    assert "version 1 of half is not known to the model server; version 2 of half--candidate is not known" in wish.waits_for


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"settings": {}}, id="none is asked for"),
        pytest.param({"policy": Latest(1)}, id="an entry that names no version"),
    ],
)
def test_where_there_is_nothing_to_compare(changes):
    assert look({1: verified(3), 2: verified(5)}, **changes) == {}


def test_a_volume_that_can_not_be_read_changes_no_pair():
    before = look({1: verified(3), 2: verified(5)})[NAME].pair
    away = look({}, source_message="it is gone")[NAME]
    assert away.pair.is_still(before)
    assert away.waits_for == "the files of version 2 have not been verified"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Pair(PROMOTED, CANDIDATE, ("a", "c")), id="other files"),
        pytest.param(Pair(compare.Side("half", 3), CANDIDATE, ("a", "b")), id="another baseline"),
        pytest.param(Pair(PROMOTED, compare.Side(NAME, 3), ("a", "b")), id="another candidate"),
    ],
)
def test_another_pair(other):
    assert not other.is_still(Pair(PROMOTED, CANDIDATE, ("a", "b")))


class Scene:
    """Comparisons of one volume with one server."""

    def __init__(self, volume, answer=line):
        self.volume, self.server = volume, PredictionServer(answer)
        (volume / "2").mkdir(parents=True, exist_ok=True)
        savedmodels.write_warmup(volume / "2", [savedmodels.predict_record(x=[1.0])] * 5)

    def directory(self, name, version):
        return str(self.volume / str(version))

    def wish(self, candidate=NAME, files="b", **changes):
        pair = Pair(PROMOTED, compare.Side(candidate, 2), ("a", files))
        return {candidate: dataclasses.replace(Wish(pair, compare.Side(candidate, 2)), **changes)}

    async def looks(self, made, wishes, until, seconds=20):
        """Look again and again until what is known of all wishes fulfils ``until``; return it."""
        for _ in range(int(seconds / 0.01)):
            made.want(wishes)
            if all(until(found) for found in made.states().values()):
                return made.states()
            await asyncio.sleep(0.01)
        raise AssertionError(f"looked in vain; known is {made.states()}")

    def run(self, play):
        async def scene():
            async with self.server.running() as address:
                made = Comparisons(address, self.directory)
                try:
                    await play(made)
                finally:
                    await made.close()

        asyncio.run(scene())


def is_made(found):
    return isinstance(found, state.Comparison)


def says(text):
    return lambda found: isinstance(found, str) and found.startswith(text)


async def seen(what):
    """Wait for ``what`` to be so, without looking."""
    for _ in range(2000):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def test_a_comparison_is_made_once(tmp_path):
    scene = Scene(tmp_path)

    async def play(made):
        found = await scene.looks(made, scene.wish(), is_made)
        assert (found[NAME].records, found[NAME].outputs[0].max_relative) == (5, pytest.approx(0.5 / 3.0))
        for wish in (scene.wish(), scene.wish(waits_for="LOADING"), scene.wish(files=None), scene.wish()):
            for _ in range(3):
                made.want(wish)
                await asyncio.sleep(0.01)
                assert made.states() == found
        assert len(scene.server.asked) == 10

    scene.run(play)


def test_other_files_are_compared_anew(tmp_path):
    scene = Scene(tmp_path)

    async def play(made):
        await scene.looks(made, scene.wish(), is_made)
        await scene.looks(made, scene.wish(files="c"), is_made)
        assert len(scene.server.asked) == 20
        made.want({})
        assert made.states() == {}
        await scene.looks(made, scene.wish(files="c"), is_made)
        assert len(scene.server.asked) == 30

    scene.run(play)


def test_several_candidates_are_compared_one_after_the_other(tmp_path):
    scene = Scene(tmp_path)

    async def play(made):
        wishes = scene.wish("a--candidate") | scene.wish("b--candidate")
        made.want(wishes)
        assert made.states() == dict.fromkeys(wishes, "waiting for its turn")
        await scene.looks(made, wishes, is_made)
        assert scene.server.most_under_way == 1
        candidates = [model for model, version, _, _ in scene.server.asked if version == 2]
        assert candidates == ["a--candidate"] * 5 + ["b--candidate"] * 5

    scene.run(play)


def test_news_are_told(tmp_path):
    scene = Scene(tmp_path)

    async def play(made):
        made.want(scene.wish())
        assert not made.news.is_set()
        await seen(lambda: made.news.is_set() and is_made(made.states()[NAME]))
        made.want(scene.wish())
        assert not made.news.is_set()

    scene.run(play)


def test_a_version_that_goes_away_ends_the_comparison(tmp_path):
    async def slowly(model, version, x):
        await asyncio.sleep(0.05)
        return line(model, version, x)

    scene = Scene(tmp_path, slowly)

    async def play(made):
        await scene.looks(made, scene.wish(), says("comparing"))
        made.want(scene.wish(waits_for="version 2 is UNLOADING"))
        assert made.states()[NAME] == "waiting: version 2 is UNLOADING"
        await seen(lambda: not scene.server.under_way)
        asked = len(scene.server.asked)
        await asyncio.sleep(0.5)  # three pairs of requests, were it not over
        assert len(scene.server.asked) == asked
        await scene.looks(made, scene.wish(), is_made)
        assert made.states()[NAME].records == 5

    scene.run(play)


def test_an_interrupted_comparison_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "BUSY_PAUSES", ())
    monkeypatch.setattr(comparisons, "RETRY_SECONDS", 0.1)
    refusals = [Refusal("UNAVAILABLE", "queue is full")]

    def answer(model, version, x):
        if version == 2 and refusals:
            raise refusals.pop()
        return line(model, version, x)

    scene = Scene(tmp_path, answer)

    async def play(made):
        await scene.looks(made, scene.wish(), says("interrupted, and made again soon: record 1"))
        found = await scene.looks(made, scene.wish(), is_made)
        assert (found[NAME].records, found[NAME].message) == (5, "")

    scene.run(play)


def test_a_fault_of_ours_is_told_and_hurts_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(comparisons, "RETRY_SECONDS", 0.1)
    scene = Scene(tmp_path)
    faults = [ZeroDivisionError("oops")]

    def directory(name, version):
        if faults:
            raise faults.pop()
        return str(scene.volume / str(version))

    monkeypatch.setattr(scene, "directory", directory)

    async def play(made):
        await scene.looks(made, scene.wish(), says("failed, and made again soon: ZeroDivisionError: oops"))
        await scene.looks(made, scene.wish(), is_made)

    scene.run(play)


def test_without_requests_it_is_over_at_once(tmp_path):
    scene = Scene(tmp_path)

    async def play(made):
        found = await scene.looks(made, scene.wish(requests=None), is_made)
        assert (found[NAME].records, found[NAME].message) == (0, "neither version has warmup requests")
        assert scene.server.asked == []

    scene.run(play)
