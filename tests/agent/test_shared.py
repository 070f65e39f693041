"""Several models in one model server: what one of them does is never the others' trouble."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time

import grpc
import pytest

from tests import examples, savedmodels
from tests.agent.load import PREDICT, Load
from tfmodel_serving import agent_config
from tfmodel_serving.model_config import Latest

IMPATIENT = "from tfmodel_agent import __main__, history; history.LOAD_SECONDS = 4.0; __main__.main()"
"""An agent that takes a load for hung after four seconds."""


class Kubelet:
    """Starts the server again when it has died, or when the agent's `/livez/server` says that it must be restarted.

    Args:
        outages: Begin and end of each time without answers for `half`.
    """

    def __init__(self, pod):
        self.outages = []
        self._pod = pod
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)

    def _run(self):
        while not self._stop.wait(0.02):
            if self._pod.server.alive and self._pod.get("/livez/server")[0] != 503:
                continue
            begin = time.monotonic()
            self._pod.kill_server()
            self._pod.start_server()
            while not answers(self._pod) and not self._stop.wait(0.01):
                pass
            self.outages.append((begin, time.monotonic()))


class Failures(list):
    """What went wrong, and when."""

    def append(self, what):
        super().append((time.monotonic(), what))

    def outside(self, outages):
        """Return those that no outage explains; a request may have been under way when one began."""
        return [what for at, what in self if not any(begin - 1.0 <= at <= end + 0.5 for begin, end in outages)]


@contextlib.contextmanager
def load(pod, model="half"):
    clients = Load(f"127.0.0.1:{pod.rest_port}", f"127.0.0.1:{pod.grpc_port}", model)
    clients.failures = Failures()
    with clients:
        yield clients


@pytest.fixture
def shared(pod):
    """A shared server: `half`, `a` and `b` serve; the kubelet watches over it."""
    pod.readiness = agent_config.Readiness.PER_MODEL
    for name in ("a", "b"):
        pod.put(1, name=name)
    pod.serve(*(pod.model(name) for name in ("half", "a", "b")))
    for name in ("half", "a", "b"):
        pod.wait_serving(1, name=name)
    with Kubelet(pod) as kubelet:
        pod.kubelet = kubelet
        yield pod


def answers(pod, model="half"):
    with contextlib.suppress(OSError):
        return bool(post(pod, model, {"instances": [1.0]}))
    return False


def join(pod, name, kind="half_plus_two", **settings):
    pod.put(1, kind, name)
    pod.serve(*pod.models.values(), pod.model(name), **settings)


def predict_texts(pod, model, texts):
    """Ask over gRPC for the signature `translate`."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, "translate"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts))
    with grpc.insecure_channel(f"127.0.0.1:{pod.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        answer = channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=10)
    outputs = predict_pb2.PredictResponse.FromString(answer).outputs
    return [text.decode() for text in outputs["translation"].string_val]


def post(pod, model, body):
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{pod.rest_port}/v1/models/{model}:predict", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_the_example_translates_both_ways_in_one_process(empty_pod):
    pod = empty_pod
    for name in ("enko", "koen"):
        shutil.copytree(examples.translators() / name, pod.volume / name)
    pod.serve(pod.model("enko"), pod.model("koen"), warmup_policy="Required", min_records=1)
    pod.start_server()
    pod.start_agent()
    for name in ("enko", "koen"):
        pod.wait_serving(1, name=name, timeout=60)
        assert pod.version(1, name)["warmup_records"] == 2
    assert predict_texts(pod, "enko", ["Good morning!", "i drink coffee"]) == ["좋은 아침입니다", "나는 커피를 마십니다"]
    assert predict_texts(pod, "koen", ["감사합니다", "역이 어디에 있어요"]) == ["thank you", "where is the station"]
    rows = post(pod, "enko", {"signature_name": "translate", "instances": ["we live in seoul"]})["predictions"]
    assert rows[0]["translation"] == "우리는 서울에 삽니다"
    assert rows[0]["score"] == pytest.approx(0.0, abs=0.1)
    columns = post(pod, "koen", {"inputs": {"text": ["내 친구들은 책을 읽습니다"]}})["outputs"]
    assert columns["translation"] == ["my friends read a book"]


@pytest.mark.parametrize("agent_dies", [False, True], ids=["", "the agent dies with it"])
def test_a_model_that_aborts_the_process_takes_it_down_once(shared, agent_dies):
    with load(shared) as clients:
        join(shared, "bad", "aborts")
        shared.wait_for("the death", lambda: not shared.server.alive or shared.kubelet.outages)
        if agent_dies:
            shared.kill_agent()
            shared.start_agent()
        shared.wait_for("the end of the outage", lambda: shared.kubelet.outages, timeout=30)
        shared.wait_for("the verdict", lambda: shared.version(1, "bad").get("crashes") == 1)
        for name in ("half", "a", "b"):
            shared.wait_serving(1, name=name)
        assert shared.version(1, "bad")["message"] == (
            "the model server died while version 1 was loading (1 time); it is tried again after 11 min"
        )
        assert shared.get("/readyz")[0] == 200
        assert {name: shared.model_state(name)["available"] for name in ("half", "a", "b", "bad")} == {
            "half": True, "a": True, "b": True, "bad": False,
        }  # fmt: skip
        shared.put(2)
        join(shared, "c")
        shared.wait_serving(2)
        shared.wait_serving(1, name="c")
    assert len(shared.kubelet.outages) == 1
    assert clients.failures.outside(shared.kubelet.outages) == []
    ((begin, end),) = shared.kubelet.outages
    print(json.dumps({"outage_seconds": round(end - begin, 2), "failures": len(clients.failures), "answers": clients.answers}))


def test_a_crasher_whose_files_are_replaced_is_loaded(shared):
    join(shared, "bad", "aborts")
    shared.wait_for("the verdict", lambda: shared.version(1, "bad").get("crashes") == 1, timeout=30)
    shutil.rmtree(shared.volume / "bad/1")
    shared.put(1, "half_plus_three", "bad")
    shared.wait_serving(1, name="bad")
    assert shared.version(1, "bad")["crashes"] == 0


def test_of_versions_that_loaded_together_each_gets_its_trial(shared):
    with load(shared) as clients:
        for name, kind in (("a", "aborts"), ("b", "half_plus_three"), ("half", "half_plus_two")):
            savedmodels.place(kind, shared.volume / name / "uploading-2")
        for name in ("a", "b", "half"):
            (shared.volume / name / "uploading-2").rename(shared.volume / name / "2")
        shared.wait_serving(2, name="half", timeout=60)
        shared.wait_serving(2, name="b", timeout=60)
        shared.wait_for("the verdict", lambda: shared.version(2, "a").get("crashes") == 1, timeout=60)
        shared.wait_serving(1, name="a")
    assert len(shared.kubelet.outages) <= 2
    assert clients.failures.outside(shared.kubelet.outages) == []


def test_a_model_that_hangs_harms_nobody_until_the_server_is_restarted_for_it(shared):
    shared.kill_agent()
    shared.start_agent(interpreter=(sys.executable, "-c", IMPATIENT))
    shared.wait_for("the agent", lambda: shared.state())
    with load(shared) as clients:
        join(shared, "bad", "hangs")
        shared.wait_for("the hang", lambda: shared.version(1, "bad").get("state") == "LOADING")
        assert clients.failures == []
        assert shared.get("/readyz")[0] == 200
        shared.wait_for("the end of the outage", lambda: shared.kubelet.outages, timeout=30)
        for name in ("half", "a", "b"):
            shared.wait_serving(1, name=name)
        assert shared.version(1, "bad")["message"].startswith(
            "the model server had to be restarted while version 1 was loading (1 time)"
        )
    assert len(shared.kubelet.outages) == 1
    assert clients.failures.outside(shared.kubelet.outages) == []


def test_models_that_fail_in_other_ways_are_nobody_elses_trouble(shared):
    with load(shared) as clients:
        warm = shared.put(1, name="warm")
        savedmodels.write_warmup(warm, [savedmodels.predict_record(nope=[1.0])])
        savedmodels.spoil(shared.put(1, name="pipe"), "saved_model.pb is a FIFO")
        shared.put(1, "fails", "fails")
        shared.serve(*shared.models.values(), *(shared.model(name) for name in ("warm", "pipe", "fails", "missing")))
        shared.wait_for("the load to fail", lambda: "failed to load" in shared.version(1, "fails").get("message", ""))
        shared.wait_for("the files to be judged", lambda: shared.version(1, "pipe").get("verdict") == "Rejected", timeout=60)
        assert "nope" in shared.version(1, "warm")["message"]
        assert "does not exist" in shared.model_state("missing")["source_message"]
        shutil.rmtree(shared.volume / "a")
        shared.wait_for("it to be noticed", lambda: shared.model_state("a").get("source_message"))
        assert answers(shared, "a"), "what is loaded goes on, whatever becomes of its files"
        shared.put(2)
        shared.wait_for("version 2", lambda: shared.available() == {2})
        assert shared.get("/readyz")[0] == 200
        assert not any(shared.model_state(name)["available"] for name in ("warm", "pipe", "fails", "missing"))
    assert clients.failures == []


def test_a_new_pod_is_ready_when_all_is_served_that_can_be(empty_pod):
    pod = empty_pod
    pod.readiness = agent_config.Readiness.PER_MODEL
    for name in ("half", "a"):
        pod.put(1, name=name)
    pod.put(1, "fails", "bad")
    pod.serve(*(pod.model(name) for name in ("half", "a", "bad", "missing")))
    pod.start_server()
    pod.start_agent()
    served = pod.wait_for("ready", lambda: pod.get("/readyz")[0] == 200 and pod.state(), timeout=60)
    assert {model["name"] for model in served["models"] if model["available"]} == {"half", "a"}
    pod.serve(*pod.models.values(), pod.model("new", Latest(1)))
    pod.put(1, name="new")
    while not pod.available("new"):
        assert pod.get("/readyz")[0] == 200, "one that joins does not take the others out"


def test_a_shared_server_without_models_is_ready(empty_pod):
    empty_pod.readiness = agent_config.Readiness.PER_MODEL
    empty_pod.serve()
    empty_pod.start_server()
    empty_pod.start_agent()
    empty_pod.wait_for("ready", lambda: empty_pod.get("/readyz")[0] == 200, timeout=60)
