"""Several models on one GPU server, on a real node: the example, and what one model does to its neighbours under load."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.request

import grpc
import pytest
import yaml

from tests import examples, savedmodels
from tests.agent.load import PREDICT, Load
from tests.agent.test_shared import Failures
from tests.e2e.conftest import OPENER
from tests.e2e.test_server_settings import IMAGE
from tests.e2e.watch import Watch

GPU = "nvidia.com/gpu"
MODEL = "serving.tfmodel.dev/model-"
SERVER = {"image": IMAGE, "resources": {"requests": {"cpu": "50m"}}, "drainSeconds": 2, "volumes": [{"claimName": "models"}]}


class Shared:
    """The test's namespace, with a claim whose directories are base paths."""

    def __init__(self, bench, claim):
        self.bench, self.cluster = bench, bench.cluster
        self.volume = bench.claim(claim)

    def server(self, name="pool", **spec):
        self._apply("TFModelServer", name, {**SERVER, **spec})

    def model(self, name, on="pool", claim="models", **spec):
        source = {"persistentVolumeClaim": {"claimName": claim, "path": name}}
        self._apply("TFModel", name, {"source": source, "serverRef": {"name": on}, **spec})

    def put(self, name, kind="half_plus_two", version=1, volume=None):
        base = (volume or self.volume) / name
        base.mkdir(parents=True, exist_ok=True)
        savedmodels.place(kind, base / f"uploading-{version}")
        return (base / f"uploading-{version}").rename(base / str(version))

    def predict(self, name, body):
        request = urllib.request.Request(f"http://{self.bench.address(name)}/v1/models/{name}:predict", json.dumps(body).encode())
        with OPENER.open(request, timeout=10) as response:
            return json.load(response)

    def answers(self, name, x, y):
        """Wait until a model gives this answer."""
        ask = lambda: self.predict(name, {"instances": [x]})  # noqa: E731
        self.cluster.wait_for(f"{y} from {name}", ask, timeout=30, done=lambda seen: seen == {"predictions": [y]})

    def endpoints(self, name):
        """Return the addresses behind a model's Service that are ready."""
        slices = self.bench.get("endpointslices", "-l", f"kubernetes.io/service-name={name}")["items"]
        return [address for one in slices for end in one["endpoints"] or () if end["conditions"]["ready"] for address in end["addresses"]]

    def pods(self, server="pool"):
        found = self.bench.get("pods", "-l", f"serving.tfmodel.dev/server=shared.{server}")["items"]
        return {pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def restarts(self, server="pool"):
        """Return how often the model servers have been restarted."""
        pods = self.bench.get("pods", "-l", f"serving.tfmodel.dev/server=shared.{server}")["items"]
        return sum(one["restartCount"] for pod in pods for one in pod["status"].get("containerStatuses", ()))

    def move(self, name, path):
        """Have a model's files in another place."""
        change = {"spec": {"source": {"persistentVolumeClaim": {"path": path}}}}
        self.bench.kubectl("patch", f"tfmodel/{name}", "--type=merge", "-p", json.dumps(change))

    def told(self, name, is_so, timeout=90):
        """Wait until a model's status is so."""
        self.cluster.wait_for(f"the status of {name}", lambda: self.bench.get("tfmodel", name)["status"], timeout, done=is_so)

    def message(self, name, reason, timeout=90):
        return self.bench.wait_reason(reason, name, timeout)

    @contextlib.contextmanager
    def load(self, name):
        """Send requests to a model through its Service; its failures have times."""
        clients = Load(self.bench.address(name), self.bench.address(name, 8500), name, per_second=50)
        clients.failures = Failures()
        with clients:
            yield clients

    def _apply(self, kind, name, spec):
        metadata = {"name": name, "namespace": self.bench.namespace}
        self.cluster.apply({"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})


def labels_of(pod):
    """Return the models that a pod is labelled with, and whether it is ready."""
    labels = sorted(key.removeprefix(MODEL) for key in pod["metadata"]["labels"] if key.startswith(MODEL))
    return (*labels, *(one["type"] for one in pod["status"]["conditions"] if one["type"] == "Ready" and one["status"] == "True"))


@pytest.fixture
def gpus(cluster):
    """Return what makes the node advertise so many GPUs; it has none again afterwards."""
    yield lambda count: cluster.set_extended_resource(GPU, count)
    cluster.set_extended_resource(GPU, 0)


@pytest.fixture
def shared(bench):
    """A shared server on which `half` and `other` serve."""
    made = Shared(bench, "models")
    for name in ("half", "other"):
        made.put(name)
    made.server()
    for name in ("half", "other"):
        made.model(name)
    for name in ("half", "other"):
        bench.wait_ready(name)
        made.cluster.wait_for(f"{name} to answer", lambda name=name: made.predict(name, {"instances": [1.0]}), timeout=20)
    yield made
    bench.kubectl("delete", "tfmodels,tfmodelservers", "--all")


def manifests(name, namespace):
    """Return the objects of one of the example's files, with the stand-in's image where a user has the public one."""
    for body in yaml.safe_load_all((examples.EXAMPLE / name).read_text()):
        body["metadata"]["namespace"] = namespace
        server = body["spec"] if body["kind"] == "TFModelServer" else body["spec"].get("server")
        if server is not None:
            server["image"] = IMAGE
            server["resources"] = {"requests": {"cpu": "50m"}}
        yield body


def translate(bench, model, texts):
    """Ask a translator over gRPC, through its Service."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, "translate"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts))
    with grpc.insecure_channel(bench.address(model, 8500), options=[("grpc.enable_http_proxy", 0)]) as channel:
        answer = channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=10)
    outputs = predict_pb2.PredictResponse.FromString(answer).outputs
    return [text.decode() for text in outputs["translation"].string_val]


def test_two_translators_share_the_only_gpu_and_two_servers_of_their_own_do_not(bench, gpus):
    gpus(1)
    volume = bench.claim("translate")
    for name in ("enko", "koen"):
        shutil.copytree(examples.translators() / name, volume / name)
    bench.cluster.apply(*manifests("shared.yaml", bench.namespace))
    for name in ("enko", "koen"):
        bench.wait_ready(name)
    (pod,) = bench.get("pods")["items"]
    assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"
    bench.cluster.wait_for("an answer", lambda: translate(bench, "enko", ["Good morning!"]), timeout=20)
    assert translate(bench, "enko", ["Good morning!", "i drink coffee"]) == ["좋은 아침입니다", "나는 커피를 마십니다"]
    assert translate(bench, "koen", ["감사합니다", "역이 어디에 있어요"]) == ["thank you", "where is the station"]
    body = {"signature_name": "translate", "instances": ["we live in seoul"]}
    request = urllib.request.Request(f"http://{bench.address('enko')}/v1/models/enko:predict", json.dumps(body).encode())
    with OPENER.open(request, timeout=10) as response:
        assert json.load(response)["predictions"][0]["translation"] == "우리는 서울에 삽니다"
    status = bench.get("tfmodelserver", "translators")["status"]
    assert (status["models"]["summary"], status["accelerator"]) == ("2/2", f"1 {GPU}")
    bench.kubectl("delete", "tfmodels,tfmodelservers", "--all")
    bench.cluster.wait_for("the GPU to be free", lambda: not bench.get("pods")["items"], timeout=120)
    bench.cluster.apply(*manifests("dedicated.yaml", bench.namespace))
    reasons = bench.cluster.wait_for(
        "one to serve, and one to wait", lambda: sorted(bench.condition(name=name).get("reason", "") for name in ("enko", "koen")),
        timeout=120, done=lambda seen: seen == ["AsDesired", "WaitingForAccelerator"],
    )  # fmt: skip
    assert reasons
    bench.kubectl("delete", "tfmodels", "--all")
    bench.cluster.wait_for("the GPU to be free", lambda: not bench.get("pods")["items"], timeout=120)


def test_models_that_cannot_be_served_harm_nobody(shared):
    before = shared.pods()
    warm = shared.put("warm")
    savedmodels.write_warmup(warm, [savedmodels.predict_record(nope=[1.0])])
    shared.put("fails", "fails")
    with shared.load("half") as clients:
        for name in ("fails", "missing", "warm"):
            shared.model(name)
        shared.message("fails", "ModelLoadFailed")
        assert "nope" in shared.message("warm", "WarmupInvalid")
        assert "does not exist" in shared.message("missing", "SourceUnavailable")
        shutil.rmtree(shared.volume / "other")
        shared.message("other", "SourceUnavailable")
        assert shared.predict("other", {"instances": [1.0]}), "what is loaded goes on"
        assert shared.bench.condition("Available", "other")["status"] == "True"
        assert shared.bench.condition(name="half")["status"] == "True"
        assert [shared.endpoints(name) for name in ("fails", "missing", "warm")] == [[], [], []]
        assert shared.endpoints("half")
    assert clients.failures == []
    assert shared.pods() == before
    assert shared.restarts() == 0


def test_a_model_that_aborts_the_process_is_found_out_and_the_others_are_fed_again(shared):
    shared.put("bad", "aborts")
    with shared.load("half") as clients:
        shared.model("bad")
        assert "the model server died while version 1 was loading" in shared.message("bad", "ModelLoadFailed", 120)
        for name in ("half", "other"):
            shared.bench.wait_ready(name)
        shared.put("new")
        shared.model("new")
        shared.bench.wait_ready("new")
        first = [at for at, _ in clients.failures]
        shared.cluster.wait_for("a quiet time", lambda: shared.predict("half", {"instances": [1.0]}), timeout=20)
        assert shared.restarts() == 1
        assert not first or max(first) - min(first) < 30, "one outage, and it ends"
    assert not shared.endpoints("bad")
    print(json.dumps({"failures": len(clients.failures), "answers": clients.answers, "outage_seconds": max(first, default=0) - min(first, default=0)}))


def test_a_model_that_hangs_while_it_is_loaded_harms_nobody(shared):
    def state():
        return next(iter(shared.bench.get("tfmodel", "bad")["status"].get("versions", [])), {}).get("state")

    shared.put("bad", "hangs")
    with shared.load("half") as clients:
        shared.model("bad")
        shared.cluster.wait_for("the hang", lambda: state() == "LOADING", timeout=60)
        since = clients.answers
        shared.cluster.wait_for("answers meanwhile", lambda: clients.answers > since + 500, timeout=60)
        assert not shared.endpoints("bad")
        assert [shared.bench.condition(name=name)["status"] for name in ("half", "other")] == ["True", "True"]
    assert clients.failures == []


def test_join_leave_and_move_restart_nothing(shared):
    shared.server("second")
    shared.cluster.wait_for("its pod", lambda: shared.pods("second"), timeout=60)
    shared.bench.kubectl("wait", "--for=condition=Ready", "tfmodelserver/second", "--timeout=120s")
    before = shared.pods() | shared.pods("second")
    with shared.load("half") as clients:
        shared.put("new")
        shared.model("new")
        shared.bench.wait_ready("new")
        shared.model("half", "second")
        shared.cluster.wait_for(
            "the move", lambda: shared.bench.get("service", "half")["spec"]["selector"]["serving.tfmodel.dev/server"], timeout=60,
            done=lambda seen: seen == "shared.second",
        )  # fmt: skip
        shared.bench.wait_ready("half")
        shared.bench.kubectl("delete", "tfmodel", "new")
        config = lambda: shared.bench.get("configmap", "pool-models")["data"]["models.config"]  # noqa: E731
        shared.cluster.wait_for("the old server to be left", lambda: 'name: "half"' not in config(), timeout=60)
        shared.cluster.wait_for("an answer", lambda: shared.predict("half", {"instances": [1.0]}), timeout=10)
    assert clients.failures == []
    assert shared.pods() | shared.pods("second") == before
    assert shared.restarts() == shared.restarts("second") == 0


def test_a_model_on_a_new_claim_replaces_the_pods_and_the_others_serve_on(shared):
    volume = shared.bench.claim("more")
    shared.put("late", volume=volume)
    before = shared.pods()
    with shared.load("half") as clients:
        shared.model("late", claim="more")
        shared.bench.wait_ready("late")
        shared.bench.wait_ready("half")
        shared.cluster.wait_for("the old pod to go", lambda: not shared.pods() & before, timeout=60)
    assert clients.failures == []


def test_versions_of_two_models_are_rolled_out_at_once_and_the_bad_one_stays_out(shared):
    before = shared.pods()
    (pod,) = shared.bench.get("pods", "-l", "serving.tfmodel.dev/server=shared.pool")["items"]
    seen = Watch(shared.cluster, f"/api/v1/namespaces/{shared.bench.namespace}/pods", pod["metadata"]["name"], labels_of)
    with contextlib.closing(seen), shared.load("half") as half, shared.load("other") as other:
        shared.put("half", "half_plus_three", 2)
        shared.put("other", "fails", 2)
        shared.told("half", lambda status: status.get("promotedVersion") == 2 and status["rollout"]["phase"] == "Complete")
        assert "version 2" in shared.message("other", "ModelLoadFailed")
        shared.put("other", "half_plus_three", 3)
        shared.put("half", "fails", 3)
        shared.told("other", lambda status: status.get("promotedVersion") == 3 and status["rollout"]["phase"] == "Complete")
        shared.message("half", "ModelLoadFailed")
        shared.told("half", lambda status: status.get("promotedVersion") == 2 and status["rollout"]["phase"] == "RolledBack")
    assert {labels_of(one) for one in seen.seen} == {("half", "other", "Ready")}, "both are in service all the time"
    assert (half.failures, other.failures) == ([], [])
    assert shared.pods() == before
    assert shared.restarts() == 0


def test_a_promoted_version_that_keeps_ending_the_process_is_taken_back(shared):
    """It passes everything, and then some request is its end: while it bakes, the one before is still there."""
    shared.model("half", rollout={"bakeSeconds": 600})
    shared.put("other", "half_plus_three", 2)
    shared.told("other", lambda status: status.get("promotedVersion") == 2 and status["rollout"]["phase"] == "Complete")
    shared.put("half", "deadly", 2)
    shared.told("half", lambda status: status["rollout"]["phase"] == "Baking")
    shared.answers("half", 1.0, 3.5)

    def is_taken_back():
        status = shared.bench.get("tfmodel", "half")["status"]
        if status["rollout"]["phase"] in {"RollingBack", "RolledBack"}:
            return True
        with contextlib.suppress(OSError):
            shared.predict("half", {"instances": [100.0]})
        return False

    shared.cluster.wait_for("version 2 to be taken back", is_taken_back, timeout=180)
    shared.told("half", lambda status: status.get("promotedVersion") == 1 and status["rollout"]["phase"] == "RolledBack", 120)
    assert "the model server crashes" in shared.message("half", "RolledBack")
    shared.bench.wait_ready("other")
    shared.answers("half", 100.0, 52.0)
    shared.answers("other", 1.0, 3.5)  # its promotion is over, and stays


def test_a_path_that_was_mistyped_takes_nothing_from_a_pod_that_starts_anew(shared):
    shared.move("half", "typo")
    assert "does not exist" in shared.message("half", "SourceUnavailable")
    before = shared.pods()
    shared.bench.kubectl("delete", "pods", "-l", "serving.tfmodel.dev/server=shared.pool")
    shared.cluster.wait_for("another pod", lambda: shared.pods() - before and not shared.pods() & before, timeout=60)
    shared.cluster.wait_for("an answer of it", lambda: shared.predict("half", {"instances": [1.0]}), timeout=90)
    shared.bench.wait_ready("other")
    before = shared.pods()
    with shared.load("half") as clients:
        shared.put("typo", "half_plus_three", 2)
        shared.told("half", lambda status: status.get("promotedVersion") == 2 and status["rollout"]["phase"] == "Complete")
        shared.bench.wait_ready("half")
        shared.answers("half", 1.0, 3.5)
    assert clients.failures == []
    assert shared.pods() == before
    assert shared.restarts() == 0
