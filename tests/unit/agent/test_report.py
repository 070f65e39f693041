"""What the agent says of one pod, made from facts."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.unit.agent.test_steps import FAILED, Trace, seen, wanted
from tfmodel_agent import body, crashes, report, steps
from tfmodel_agent.failures import Failure
from tfmodel_agent.history import History, Seen, Served, ServerVersion, asked_anew
from tfmodel_serving import files, problems, state
from tfmodel_serving.model_config import All, Latest, Specific
from tfmodel_serving.saved_model import Finding, Verdict


def told(one, looked=None, history=None):
    """Return the only model of the report on ``one``."""
    history = history or History(pushed={}, reachable=True)
    looked = looked or Seen()
    step = steps.next_step([one], looked, history, 1000.0)
    return report.report("uid", "hash", "", [one], looked, history, step, 1000.0, {}).models[0]


def test_a_served_version_whose_files_are_written_is_what_it_was_with_a_warning():
    (version,) = told(wanted(incomplete=[2]), seen(half={2: "AVAILABLE"})).versions
    assert (version.verdict, version.reason, version.message, version.wanted) == ("Verified", "", "", True)
    assert version.warnings == ("it serves; before it is loaded again its files must be whole: files are still being written",)
    (version,) = told(wanted(incomplete=[2])).versions
    assert (version.verdict, version.message, version.warnings) == ("Incomplete", "files are still being written", ())


@pytest.mark.parametrize("served", [1, 19, 20, 40])
def test_the_next_version_is_told_however_many_are_served_or_watched(served):
    numbers = tuple(range(1, served + 1))
    one = dataclasses.replace(wanted(verified=[*numbers, *range(100, 150)], policy=Specific(numbers)), watched=frozenset(range(50, 55)))
    told_of = [version.version for version in told(one, seen(half=dict.fromkeys(numbers, "AVAILABLE"))).versions]
    assert told_of[:10] == list(range(149, 139, -1))
    assert set(numbers) <= set(told_of)
    assert len(told_of) <= max(report.MAX_VERSIONS, served + 5 + report.MIN_OTHERS)


def test_a_served_version_whose_files_have_become_bad_is_called_so():
    one = wanted()
    bad = Finding(Verdict.REJECTED, "saved_model.pb can't be parsed", problems.Reason.REJECTED)
    (version,) = told(steps.Wanted(one.model, {2: bad}, {2: "files"}), seen(half={2: "AVAILABLE"})).versions
    assert (version.verdict, version.reason, version.wanted) == ("Rejected", "VersionRejected", True)


@pytest.mark.parametrize(
    ("file", "is_told"),
    [
        pytest.param(files.File(10, 5, 77, True), False, id="the same"),
        pytest.param(files.File(10, 5, 78, True), False, id="another inode number, as FUSE may give it"),
        pytest.param(files.File(10, 6, 77, True), True, id="written to"),
        pytest.param(files.File(11, 5, 77, True), True, id="another size"),
    ],
)
def test_a_version_that_serves_other_files_than_are_there_has_no_digest(file, is_told):
    loaded = crashes.mark({"saved_model.pb": files.File(10, 5, 77, True)})
    history = History(pushed={}, reachable=True, serving=frozenset({("half", 2)}), proven={("half", 2): loaded})
    found = Finding(Verdict.VERIFIED, digest="sha256:2")
    one = steps.Wanted(wanted().model, {2: found}, {2: {"saved_model.pb": file}})
    (version,) = told(one, seen(half={2: "AVAILABLE"}), history).versions
    assert version.message.startswith("it serves as it was loaded") == is_told
    assert (version.digest, version.reason) == ("" if is_told else "sha256:2", "")


@pytest.mark.parametrize(
    ("one", "looked", "failures", "reason"),
    [
        pytest.param(wanted(policy=Specific((7,))), Seen(), {}, "NoVersionFound", id="no directory"),
        pytest.param(wanted(verified=[7]), seen(half={7: FAILED}), {7: "no SavedModel"}, "ModelLoadFailed", id="failed to load"),
        pytest.param(wanted(incomplete=[7]), seen(half={7: FAILED}), {7: "no SavedModel"}, "VersionIncomplete", id="being mended"),
        pytest.param(wanted(verified=[7]), Seen(), {}, "", id="nothing wrong"),
    ],
)
def test_the_reason_is_one_of_those_that_conditions_have(one, looked, failures, reason):
    kept = {("half", version): Failure(message, 900.0, fingerprint="files") for version, message in failures.items()}
    (version,) = told(one, looked, History(pushed={}, reachable=True, failures=kept)).versions
    assert version.reason == reason
    assert version.reason in list(problems.Reason)


def test_a_failure_is_told_of_the_files_that_failed_and_of_no_others():
    history = History(pushed={}, reachable=True, failures={("half", 7): Failure("no SavedModel", 900.0, fingerprint="files")})
    failed = seen(half={7: FAILED})
    assert told(wanted(verified=[7]), failed, history).versions[0].failed
    assert not told(wanted(verified=[7], marks={7: "other files"}), failed, history).versions[0].failed
    asked = asked_anew(history, [("half", 7), ("half", 8)])
    assert not told(wanted(verified=[7]), failed, asked).versions[0].failed


def test_labels_are_told_of_the_version_they_are_on():
    history = History(pushed={"half": Served(frozenset({1, 2}), {"stable": 1, "old": 1})}, reachable=True)
    versions = told(wanted(verified=[1, 2]), seen(half={1: "AVAILABLE", 2: "AVAILABLE"}), history).versions
    assert {one.version: one.labels for one in versions} == {1: ("old", "stable"), 2: ()}


@pytest.mark.parametrize(
    ("states", "ready"),
    [
        pytest.param({"half": {1: "AVAILABLE"}, "half--candidate": {2: "LOADING"}}, True, id="a candidate takes no pod out"),
        pytest.param({"half": {1: "LOADING"}, "half--candidate": {2: "AVAILABLE"}}, False, id="and brings none in"),
    ],
)
def test_readiness_is_about_what_clients_are_sent_to(states, ready):
    models = [wanted(name, verified=versions) for name, versions in states.items()]
    history, looked = History(pushed={}, reachable=True), seen(**states)
    step = steps.next_step(models, looked, history, 1000.0)
    assert report.report("uid", "hash", "", models, looked, history, step, 1000.0, {}).ready is ready


def test_versions_in_use_are_told_whatever_their_number_and_of_the_others_the_newest():
    many = range(1, 101)
    model = told(wanted(policy=Latest(1), verified=many), seen(half={1: "AVAILABLE", 2: ServerVersion("END", 5, "no")}))
    assert [version.version for version in model.versions] == [*range(100, 81, -1), 1]
    assert len(told(wanted(policy=All(), verified=many)).versions) == 100
    watched = dataclasses.replace(wanted(policy=Latest(1), verified=many), watched=frozenset({3, 200}))
    assert {version.version: version.verdict for version in told(watched).versions if version.version in {3, 200}} == {
        3: "Verified",
        200: "Missing",
    }


def test_a_trace_of_reports_never_calls_a_served_version_unverified():
    trace, half = Trace(), wanted(verified=[1, 2])
    trace.step(half)
    trace.step(half, seen(half={2: "AVAILABLE"}), after=5)
    trace.step(wanted(verified=[1], incomplete=[2]), seen(half={2: "AVAILABLE"}), after=1)
    model = told(wanted(verified=[1], incomplete=[2]), seen(half={2: "AVAILABLE"}), trace.history)
    assert [(version.version, version.verdict, version.wanted) for version in model.versions] == [
        (2, "Verified", True),
        (1, "Verified", False),
    ]


@pytest.mark.parametrize(
    ("looked", "is_ready"),
    [
        pytest.param(seen(half={1: "AVAILABLE"}), True, id="serves"),
        pytest.param(seen(half={1: "END"}), False, id="serves nothing"),
        pytest.param(Seen(message="UNAVAILABLE"), False, id="away"),
        pytest.param(Seen(seen(half={1: "AVAILABLE"}).models, "RESOURCE_EXHAUSTED", is_busy=True), True, id="served, too busy to say"),
        pytest.param(Seen({}, "RESOURCE_EXHAUSTED", is_busy=True), False, id="too busy for too long"),
    ],
)
def test_a_pod_is_ready_while_its_models_serve(looked, is_ready):
    one, history = wanted(verified=[1]), History(pushed={}, reachable=True)
    said = report.report("uid", "hash", "", [one], looked, history, steps.next_step([one], looked, history, 0.0), 0.0, {})
    assert (said.ready, said.server_message) == (is_ready, looked.message)


# -- bounded -------------------------------------------------------------------------------------------------------------


def fleet(models, versions):
    """A state of many models, each with its newest version in use."""

    def version(number, is_used):
        return state.VersionState(
            number, "Verified", "AVAILABLE" if is_used else "", wanted=is_used, digest=f"sha256:{number:064}", message="m" * 300,
            signatures=tuple(f"signature_{one}" for one in range(16)), warnings=("w" * 400,) * 3,
        )  # fmt: skip

    newest = [version(number, number == versions) for number in range(versions, 0, -1)]
    named = tuple(state.ModelState(f"model-{number:05}" + "x" * 40, "", tuple(newest)) for number in range(models))
    return state.AgentState("uid", "hash", ready=True, settled=True, step="serving what is wanted", models=named)


@pytest.mark.parametrize(
    ("models", "versions", "left_out", "kept_versions"),
    [
        pytest.param(1, 20, "", 20, id="one model"),
        pytest.param(60, 20, "signatures and warnings of versions not in use", 20, id="sixty"),
        pytest.param(400, 20, "; versions not in use", 1, id="four hundred"),
        pytest.param(700, 20, "; signatures, warnings and what a message has beyond 80 characters", 1, id="seven hundred"),
        pytest.param(3000, 1, "; signatures, warnings and what a message has beyond 80 characters", 1, id="three thousand"),
    ],
)
def test_the_answer_is_bounded_and_tells_what_it_leaves_out(models, versions, left_out, kept_versions):
    current = fleet(models, versions)
    text, tag = body.encode(current)
    assert len(text.encode()) <= state.MAX_BYTES
    assert (text, tag) == body.encode(fleet(models, versions))
    read = state.from_dict(json.loads(text))
    assert read.left_out.endswith(left_out) if left_out else not read.left_out
    assert [model.name for model in read.models] == [model.name for model in current.models]
    assert {len(model.versions) for model in read.models} == {kept_versions}
    assert all(model.versions[0].digest and model.versions[0].state == "AVAILABLE" for model in read.models)


def test_models_are_left_out_last_and_counted():
    current = fleet(6_000, 1)
    text, _ = body.encode(current)
    assert state.MAX_BYTES * 0.95 < len(text) <= state.MAX_BYTES
    read = state.from_dict(json.loads(text))
    assert [model.name for model in read.models] == [model.name for model in current.models[: len(read.models)]]
    assert read.left_out.endswith(f"; all but {len(read.models)} of 6000 models")


def test_a_state_that_fits_is_told_in_full():
    current = fleet(3, 3)
    assert json.loads(body.encode(current)[0]) == json.loads(json.dumps(state.to_dict(current)))
