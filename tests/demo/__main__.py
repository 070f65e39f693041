"""`python -m tests.demo up|down|images`, behind `make demo`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

from tests.cluster import ClusterError, EmbeddedCluster
from tests.cluster.cache import say
from tests.cluster.errors import CommandFailed
from tests.demo import kube

SAMPLE = kube.ROOT / "manifests/samples/half-plus-two.yaml"
CHART = kube.ROOT / "charts/tfmodel-operator"
RELEASE, NAMESPACE = "tfmodel-operator", "tfmodel-system"
INSTANCES = [1.0, 2.0, 5.0]
READY_SECONDS = 600
ANSWER_SECONDS = 15
T = TypeVar("T")


def main() -> int:
    """Run one command; an error is one message on stderr and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "images"))
    parser.add_argument("--kube", choices=("embedded", "current"), default="embedded")
    parser.add_argument("--name", default=kube.NAME, help="of the embedded cluster (default: %(default)s)")
    chosen = parser.parse_args()
    try:
        match chosen.command:
            case "up":
                up(kube.Embedded.up(chosen.name) if chosen.kube == "embedded" else kube.Current(), chosen.kube)
            case "down" if chosen.kube == "embedded":
                EmbeddedCluster(name=chosen.name).stop(keep_logs=False)
                say("The demo's cluster is gone, and all it made")
            case "down":
                down(kube.Current())
            case "images":
                for image in (kube.operator_image(), kube.model_server_image()):
                    print(image.reference, image.archive)
    except (ClusterError, kube.DemoFailed) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def up(cluster: kube.Kube, where: str) -> None:
    """Install the operator, serve the sample, ask it over REST and gRPC, and show what there is to see."""
    repository, _, tag = cluster.operator_image.rpartition(":")
    say(f"Installing the operator ({cluster.operator_image}) with helm")
    try:
        cluster.helm(
            "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "3m",
            "--set", f"image.repository={repository},image.tag={tag}",
        )  # fmt: skip
    except CommandFailed as error:
        raise kube.DemoFailed(f"{error}\n\n{look_at_operator(cluster)}") from error
    say(f"Applying {SAMPLE.relative_to(kube.ROOT)}")
    cluster.kubectl("apply", "-f", str(SAMPLE))
    wait_until_ready(cluster)
    with cluster.reach("half-plus-two", 8501) as address:
        rest = first_answer(lambda: predict_rest(address))
    with cluster.reach("half-plus-two", 8500) as address:
        grpc = predict_grpc(address)
    show("REST  POST /v1/models/half-plus-two:predict", f"{json.dumps({'instances': INSTANCES})} -> {rest}")
    show("gRPC  tensorflow.serving.PredictionService/Predict", f"x = {INSTANCES} -> y = {grpc}")
    show("kubectl get tfmodels", cluster.kubectl("get", "tfmodels", "-o", "wide"))
    config = cluster.kubectl("get", "configmap", "half-plus-two-models", "-o", r"jsonpath={.data.models\.config}")
    show("The generated model_config_list (ConfigMap half-plus-two-models)", config)
    if rest != [2.5, 3.0, 4.5] or grpc != rest:
        raise kube.DemoFailed(f"the answers are wrong: REST {rest}, gRPC {grpc}, expected [2.5, 3.0, 4.5]")
    show("What to try next", next_steps(where))


def look_at_operator(cluster: kube.Kube) -> str:
    """Return what one would look at first when the operator doesn't start."""
    seen = []
    for arguments in (("get", "pods"), ("logs", f"deployment/{RELEASE}", "--tail=15")):
        with contextlib.suppress(CommandFailed):
            seen.append(cluster.kubectl("-n", NAMESPACE, *arguments))
    return "\n".join(seen)


def wait_until_ready(cluster: kube.Kube) -> None:
    """Wait for the TFModel, saying each new reason why it isn't ready."""
    deadline, said = time.monotonic() + READY_SECONDS, ""
    while time.monotonic() < deadline:
        found = json.loads(cluster.kubectl("get", "tfmodel", "half-plus-two", "-o", "json"))
        status = found.get("status", {})
        ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), None)
        if ready and ready["status"] == "True" and status["observedGeneration"] == found["metadata"]["generation"]:
            say(f"half-plus-two is Ready: {ready['message']}")
            return
        if ready and (now := f"{ready['reason']}: {ready['message']}") != said:
            said = now
            say(f"half-plus-two is not ready yet. {said}")
        time.sleep(0.5)
    raise kube.DemoFailed(f"half-plus-two did not become Ready within {READY_SECONDS} s: {said}")


def first_answer(ask: Callable[[], T]) -> T:
    """Ask until there is an answer: a pod that has just become ready takes a second to reach every node's rules."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return ask()
        except OSError as error:
            if time.monotonic() > deadline:
                raise kube.DemoFailed(f"no answer through the Service within {ANSWER_SECONDS} s: {error}") from error
        time.sleep(0.2)


def predict_rest(address: str) -> object:
    """Return the predictions for INSTANCES over REST."""
    request = urllib.request.Request(
        f"http://{address}/v1/models/half-plus-two:predict",
        data=json.dumps({"instances": INSTANCES}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        return json.load(response)["predictions"]


def predict_grpc(address: str, model: str = "half-plus-two") -> list[float]:
    """Return the predictions for INSTANCES over gRPC, with TensorFlow Serving's own client API."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(INSTANCES, dtype=tf.float32))
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    return [float(value) for value in tf.make_ndarray(response.outputs["y"])]


def next_steps(where: str) -> str:
    """Return commands a newcomer may want to type."""
    steps = [
        "kubectl describe tfmodel half-plus-two        # conditions, versions, endpoints",
        "kubectl get pods -l serving.tfmodel.dev/server=half-plus-two",
        "kubectl logs deploy/half-plus-two -c agent    # what the agent did, and why",
        "kubectl scale tfmodel half-plus-two --replicas=2 && kubectl get tfmodels -w",
        "kubectl delete -f manifests/samples/half-plus-two.yaml",
    ]
    if where == "embedded":
        environment = 'eval "$(make -s demo-env)"                    # KUBECONFIG, kubectl and helm'
        return "\n".join([environment, *steps, "make demo-down"])
    return "\n".join([*steps, "make demo-down KUBE=current"])


def down(cluster: kube.Kube) -> None:
    """Remove the sample and the operator from the user's cluster; the CRD stays, as the chart has it."""
    say("Deleting the sample and uninstalling the operator")
    cluster.kubectl("delete", "-f", str(SAMPLE), "--ignore-not-found")
    cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def show(title: str, text: str) -> None:
    """Print a titled block."""
    indented = "\n".join(f"  {line}" for line in text.rstrip().splitlines())
    print(f"\n{title}\n{indented}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
