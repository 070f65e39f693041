"""A candidate is compared with the version clients get, before any client sees it, and without any client feeling it."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time

import pytest

from tests import savedmodels
from tests.agent.conftest import pods
from tests.agent.load import Load
from tests.agent.test_drain import drain
from tests.savedmodels import example_record, predict_record
from tests.unit.serving.test_replay import multi_inference_log
from tfmodel_serving.agent_config import ModelSettings, Promoted
from tfmodel_serving.model_config import Model, Specific

CANDIDATE = "half--candidate"
XS = ([1.0], [2.0, 5.0], [0.0, -4.0, 8.0])


def put(pod, version, kind, *records, name="half"):
    """Put a version on the volume in one step, with a warmup file if there are records."""
    staged = savedmodels.place(kind, pod.volume / f"uploading-{name}-{version}")
    if records:
        savedmodels.write_warmup(staged, records)
    (pod.volume / name).mkdir(exist_ok=True)
    return staged.rename(pod.volume / name / str(version))


def predictions(*xs):
    return [predict_record(x=x) for x in xs]


def entries(pod, name, candidate, promoted, versions):
    """Return the entries of a model and of its candidate."""
    pod.settings[f"{name}--candidate"] = ModelSettings(compare_with=Promoted(name, promoted))
    return Model(name, f"{pod.volume}/{name}", Specific(versions)), Model(f"{name}--candidate", f"{pod.volume}/{name}", Specific((candidate,)))


def serve(pod, *, candidate=None, versions=(1,), promoted=1, **labels):
    """Serve ``versions``, and try ``candidate`` alone."""
    models = [pod.model(policy=Specific(versions), **labels)]
    if candidate is not None:
        models.append(entries(pod, "half", candidate, promoted, versions)[1])
    pod.serve(*models)


def candidate(pod, name="half"):
    """Return what the agent says of the candidate's entry, or {}."""
    return next((model for model in pod.state().get("models", []) if model["name"] == f"{name}--candidate"), {})


def comparing(pod, says):
    """Tell whether a comparison is so far."""
    return candidate(pod).get("comparing", "").startswith(says)


def compared(pod, name="half", timeout=40):
    return pod.wait_for("the comparison", lambda: candidate(pod, name).get("comparison"), timeout)


def start(pod):
    serve(pod)
    pod.start_server()
    pod.start_agent()
    pod.wait_serving(1, timeout=60)


def load(pod, per_second=100.0):
    return Load(f"127.0.0.1:{pod.rest_port}", f"127.0.0.1:{pod.grpc_port}", "half", per_second)


def outputs(found):
    return {output["name"]: output for output in found["outputs"]}


METHODS = [*predictions([1.0, 5.0]), multi_inference_log("regress")]
METHODS += [example_record(method, f"{method}_x_to_y", 1.0, 5.0) for method in ("classify", "regress")]
TRIALS = {
    "same": (("half_plus_two", []), ("half_plus_two", predictions(*XS))),
    "methods": (("half_plus_two", []), ("half_plus_three", METHODS)),
    "classes": (("classifier", predictions(*XS)), ("classifier_turned", [])),
    "outputs": (("half_plus_two", predictions([1.0])), ("two_outputs", [])),
    "picky": (("half_plus_two", predictions([1.0], [100.0], [2.0], [200.0])), ("picky", [])),
    "lenient": (("picky", []), ("half_plus_two", predictions([1.0], [100.0]))),
    "silent": (("half_plus_two", []), ("half_plus_two", [])),
}
"""By the name of a model: its version 1, which clients get, and version 2, the candidate; kind and warmup requests of each."""


@pytest.fixture(scope="module")
def trials():
    """A pod with several candidates at once, all of them compared."""
    with pods() as pod:
        models = []
        for name, versions in TRIALS.items():
            for version, (kind, records) in enumerate(versions, start=1):
                put(pod, version, kind, *records, name=name)
            models += entries(pod, name, 2, 1, (1,))
        pod.serve(*models)
        pod.start_server()
        pod.start_agent()
        for name in TRIALS:
            compared(pod, name, timeout=120)
        yield pod


def test_a_candidate_that_answers_the_same(trials):
    found = compared(trials, "same")
    assert found["outputs"] == [{"name": "y", "max_absolute": 0.0, "max_relative": 0.0, "argmax_equal": 0, "argmax_of": 0}]
    expected = {"version": 2, "against": 1, "records": 3, "failures": 0, "message": "", "note": ""}
    assert {name: found[name] for name in expected} == expected
    for side in ("candidate", "promoted"):
        assert 0.0 < found[side]["median_seconds"] <= found[side]["p99_seconds"] < 5.0
    assert candidate(trials, "same")["comparing"] == ""


def test_the_metrics_of_a_comparison(trials):
    labels = 'model_name="same--candidate"'
    metrics = trials.get("/metrics")[1]
    assert f'tfmodel_agent_comparison_records{{{labels},version="2"}} 3.0' in metrics
    assert f'tfmodel_agent_comparison_failures{{{labels},version="2"}} 0.0' in metrics
    assert f'tfmodel_agent_comparison_max_relative_difference{{{labels},output="y",version="2"}} 0.0' in metrics
    assert f'tfmodel_agent_comparison_latency_seconds{{{labels},quantile="0.99",side="candidate",version="2"}}' in metrics
    assert 'tfmodel_agent_comparison_argmax_agreement{model_name="classes--candidate",output="scores"' in metrics


def test_a_candidate_that_answers_differently_by_every_method(trials):
    found = compared(trials, "methods")
    assert (found["records"], found["failures"], found["message"]) == (4, 0, "")
    differences = {name: (one["max_absolute"], one["max_relative"]) for name, one in outputs(found).items()}
    assert differences.pop("classify_x_to_y/classes") == (0.0, 0.0)
    assert set(differences) == {"y", "classify_x_to_y/scores", "regress_x_to_y/outputs"}
    for absolute, relative in differences.values():
        assert absolute == pytest.approx(1.0, rel=1e-6)
        assert relative == pytest.approx(1.0 / 3.5, rel=1e-6)


def test_a_classifier_that_sees_other_classes(trials):
    found = compared(trials, "classes")
    # x = 0 gives the same scores to all classes; all other x give the opposite order.
    assert (outputs(found)["scores"]["argmax_equal"], outputs(found)["scores"]["argmax_of"]) == (1, 6)
    assert (outputs(found)["class"]["max_absolute"], outputs(found)["class"]["max_relative"]) == (2.0, 2.0)
    assert found["message"] == "output class: record 1: [0] is 0 instead of 2"


def test_a_candidate_with_other_outputs(trials):
    found = compared(trials, "outputs")
    assert found["message"] == "output twice: record 1: only the candidate has it"
    assert {name: one["max_relative"] for name, one in outputs(found).items()} == {"twice": 2.0, "y": 0.0}


def test_a_candidate_that_fails_on_some_requests(trials):
    found = compared(trials, "picky")
    assert (found["records"], found["failures"]) == (2, 2)
    assert found["message"].startswith("record 2: version 2: INVALID_ARGUMENT: ")
    assert "x is too large" in found["message"]
    assert found["message"].endswith(" (and 1 more)")


def test_requests_that_the_promoted_version_can_not_answer_say_nothing_about_the_candidate(trials):
    found = compared(trials, "lenient")
    assert (found["records"], found["failures"], found["message"]) == (1, 0, "")
    assert found["note"].startswith("left out: record 2: version 1: INVALID_ARGUMENT: ")


def test_without_requests_there_is_nothing_to_compare(trials):
    found = compared(trials, "silent")
    assert (found["records"], found["outputs"], found["message"]) == (0, [], "neither version has warmup requests")


def test_a_candidate_that_can_not_be_loaded_does_not_make_the_pod_unready(empty_pod):
    put(empty_pod, 1, "half_plus_two", *predictions([1.0]))
    bad = put(empty_pod, 2, "half_plus_two")
    # Found sound by us and refused by the server: a graph that wants an operation nobody has.
    model = bad / "saved_model.pb"
    model.write_bytes(model.read_bytes().replace(b"AddV2", b"AddV9"))
    start(empty_pod)
    with load(empty_pod) as clients:
        serve(empty_pod, candidate=2)
        empty_pod.wait_for("the failed load", lambda: empty_pod.version(2, CANDIDATE).get("message", "").startswith("failed to load"))
        assert empty_pod.get("/readyz")[0] == 200
        assert candidate(empty_pod)["comparison"] is None
        assert comparing(empty_pod, f"waiting: version 2 of {CANDIDATE} is ")
        serve(empty_pod)
        empty_pod.wait_serving(1)
    assert clients.failures == []


def test_an_agent_that_is_started_again_compares_again(empty_pod):
    put(empty_pod, 1, "half_plus_two", *predictions(*XS))
    put(empty_pod, 2, "half_plus_three")
    start(empty_pod)
    serve(empty_pod, candidate=2)
    before = compared(empty_pod)
    empty_pod.kill_agent()
    empty_pod.start_agent()
    after = compared(empty_pod)
    assert after["outputs"] == before["outputs"]
    assert empty_pod.logs().count('"Compared"') == 2


def test_a_comparison_is_made_once_and_outlives_a_restart_of_the_server(empty_pod):
    put(empty_pod, 1, "half_plus_two", *predictions(*XS))
    put(empty_pod, 2, "half_plus_three")
    start(empty_pod)
    serve(empty_pod, candidate=2)
    before = compared(empty_pod)
    empty_pod.kill_server()
    empty_pod.start_server()
    empty_pod.wait_serving(2, name=CANDIDATE, timeout=60)
    assert compared(empty_pod) == before
    shutil.rmtree(empty_pod.volume / "half" / "1")
    empty_pod.wait_for("it to be noticed", lambda: empty_pod.version(1).get("verdict") == "Missing")
    assert compared(empty_pod) == before
    assert empty_pod.logs().count('"Compared"') == 1


def test_a_comparison_with_another_version_takes_the_place_of_the_one_under_way(empty_pod):
    put(empty_pod, 1, "half_plus_two")
    put(empty_pod, 2, "half_plus_two")
    put(empty_pod, 3, "half_plus_three", *predictions([1.0]) * 1000)
    start(empty_pod)
    serve(empty_pod, candidate=3, versions=(1, 2))
    empty_pod.wait_for("the first one", lambda: comparing(empty_pod, "comparing: "))
    serve(empty_pod, candidate=3, versions=(1, 2), promoted=2)
    empty_pod.wait_for("the second one", lambda: empty_pod.logs().count('"Comparing"') == 2)
    serve(empty_pod, versions=(1, 2))
    empty_pod.wait_for("the end of it", lambda: candidate(empty_pod) == {})
    serve(empty_pod, versions=(1, 2, 3))
    empty_pod.wait_serving(1, 2, 3)
    assert '"Compared"' not in empty_pod.logs()


def test_a_pod_that_leaves_compares_no_more(empty_pod):
    put(empty_pod, 1, "half_plus_two")
    put(empty_pod, 2, "half_plus_two", *predictions([1.0]) * 1000)
    start(empty_pod)
    serve(empty_pod, candidate=2)
    empty_pod.wait_for("the comparison to begin", lambda: comparing(empty_pod, "comparing"))
    leaving = threading.Thread(target=drain, args=(empty_pod,))
    leaving.start()
    empty_pod.wait_for("the end of it", lambda: candidate(empty_pod)["comparing"] == "")
    assert candidate(empty_pod)["comparison"] is None
    leaving.join(60)


def test_a_server_that_dies_in_the_middle_is_no_fault_of_the_candidate(empty_pod):
    put(empty_pod, 1, "half_plus_two")
    put(empty_pod, 2, "half_plus_two", *predictions([1.0]) * 200)
    start(empty_pod)
    serve(empty_pod, candidate=2)
    empty_pod.wait_for("the comparison to begin", lambda: comparing(empty_pod, "comparing"))
    empty_pod.kill_server()
    empty_pod.wait_for("it to be noticed", lambda: comparing(empty_pod, "waiting: "))
    empty_pod.start_server()
    found = compared(empty_pod, timeout=90)
    assert (found["records"], found["failures"], found["message"]) == (200, 0, "")


def test_a_candidate_is_handed_over_in_one_reload_and_there_are_never_three_copies(empty_pod):
    put(empty_pod, 1, "half_plus_two", *predictions(*XS))
    put(empty_pod, 2, "half_plus_two")
    serve(empty_pod, stable=1)
    empty_pod.start_server()
    empty_pod.start_agent()
    empty_pod.wait_serving(1, timeout=60)
    with load(empty_pod) as clients:
        serve(empty_pod, candidate=2, stable=1)
        compared(empty_pod)
        reloads = empty_pod.logs().count("Reloading the model server")
        serve(empty_pod, versions=(1, 2), stable=1)
        most = 0
        while not (empty_pod.available() == {1, 2} and empty_pod.state()["settled"]):
            copies = [state for name in ("half", CANDIDATE) for state in states(empty_pod, name).values()]
            most = max(most, sum(state in {"LOADING", "AVAILABLE"} for state in copies))
            assert states(empty_pod, "half")[1] == "AVAILABLE"
        assert most == 2
        assert empty_pod.logs().count("Reloading the model server") == reloads + 1
        serve(empty_pod, versions=(2,), stable=2)
        empty_pod.wait_serving(2)
        assert json.loads(empty_pod.get("/v1/models/half/labels/stable/metadata", empty_pod.rest_port)[1])["model_spec"]["version"] == "2"
    assert clients.failures == []


def states(pod, name):
    """Return the model server's own word for every version of a model."""
    code, body = pod.get(f"/v1/models/{name}", pod.rest_port)
    found = json.loads(body).get("model_version_status", []) if code == 200 else []
    return {int(version["version"]): version["state"] for version in found}


def p99(seconds):
    return sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1]


def test_clients_do_not_feel_a_comparison(empty_pod):
    """Their p99 is printed, not judged: this machine has other work to do as well."""
    put(empty_pod, 1, "half_plus_two")
    put(empty_pod, 2, "half_plus_three", *predictions([1.0, 2.0, 5.0]) * 500)
    start(empty_pod)
    with load(empty_pod, per_second=50.0) as clients:  # over REST, and as much over gRPC
        empty_pod.wait_for("answers without", lambda: clients.answers > 1000, timeout=60)
        without, begin = list(clients.seconds), time.monotonic()
        serve(empty_pod, candidate=2)
        empty_pod.wait_for("the comparison to begin", lambda: comparing(empty_pod, "comparing"))
        loaded = len(clients.seconds)
        found = compared(empty_pod, timeout=150)
        during = list(clients.seconds[loaded:])
    assert clients.failures == []
    assert (found["records"], found["failures"]) == (500, 0)
    figures = {"p99_ms_without": p99(without), "p99_ms_during": p99(during)}
    figures = {name: round(1000 * value, 2) for name, value in figures.items()} | {"seconds": round(time.monotonic() - begin, 1)}
    latencies = {f"{side}_{name}": took for side in ("promoted", "candidate") for name, took in found[side].items()}
    print(json.dumps(figures | latencies))
