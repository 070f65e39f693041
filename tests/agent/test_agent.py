"""What must not happen to what serves, with a model server and an agent as plain processes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time

import grpc
import pytest

from tests import savedmodels
from tests.agent.load import Load
from tfmodel_serving import model_config
from tfmodel_serving.model_config import All, Latest, Specific
from tfmodel_serving.protos import serving_pb2

INSTANCES = {"instances": [1.0, 2.0, 5.0]}


def load(pod, model="half"):
    return Load(f"127.0.0.1:{pod.rest_port}", f"127.0.0.1:{pod.grpc_port}", model)


def looks_made(pod):
    """Return how often the agent has looked, and could have sent a reload."""
    lines = pod.get("/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("tfmodel_agent_look_seconds_count"))


def reload_by_somebody_else(pod, config=b"", timeout=10):
    """Replace the server's config as anybody on the pod's network could."""
    with grpc.insecure_channel(f"127.0.0.1:{pod.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        request = serving_pb2.ReloadConfigRequest(config=serving_pb2.ModelServerConfig.FromString(config or b"\n\x00"))
        channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")(request.SerializeToString(), timeout=timeout)


def test_versions_come_and_go_under_load_without_an_error(pod):
    with load(pod) as clients:
        for version in (2, 3):
            pod.put(version)
            pod.wait_serving(version)
        pod.serve(pod.model(policy=Specific((1, 3)), stable=1))
        pod.wait_serving(1, 3)
        pod.serve(pod.model(policy=Specific((1,)), stable=1))
        pod.wait_serving(1)
        pod.wait_for("more answers", lambda: clients.answers > 400, timeout=30)
    assert clients.failures == []


def test_a_bad_model_beside_a_good_one_never_makes_it_blink(pod):
    (pod.put(1, name="bad") / "saved_model.pb").write_bytes(b"no protobuf")
    with load(pod) as clients:
        pod.serve(pod.model(), pod.model("bad"), pod.model("missing"))
        pod.wait_for("the bad one to be judged", lambda: pod.version(1, "bad").get("message"))
        pod.put(2)
        pod.wait_for("version 2", lambda: pod.available() == {2})
        models = {model["name"]: model for model in pod.state()["models"]}
        assert "does not exist" in models["missing"]["source_message"]
        pod.serve(pod.model())
        pod.wait_serving(2)
    assert clients.failures == []
    assert clients.answers > 0


def test_a_version_that_appears_file_by_file_is_loaded_when_it_is_whole(pod, tmp_path):
    whole = savedmodels.place("half_plus_two", tmp_path / "whole")
    target = pod.volume / "half/2"
    files = sorted((path for path in whole.rglob("*") if path.is_file()), key=lambda path: path.name != "saved_model.pb")
    with load(pod) as clients:
        for file in files:
            assert pod.available() == {1}
            copy = target / file.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
            if file is not files[-1]:
                pod.wait_for("the half copy to be noticed", lambda: pod.version(2).get("verdict") == "Incomplete")
        pod.wait_serving(2)
    assert clients.failures == []


@pytest.mark.parametrize("how", ["emptied", "base path gone", "volume gone"])
def test_a_vanished_volume_unloads_nothing(pod, how):
    with load(pod) as clients:
        match how:
            case "emptied":
                shutil.rmtree(pod.volume / "half/1")
                pod.wait_for("it to be noticed", lambda: pod.version(1).get("verdict") == "Missing")
            case "base path gone":
                shutil.rmtree(pod.volume / "half")
            case "volume gone":
                pod.volume.rename(pod.volume.with_name("elsewhere"))
        if how != "emptied":
            pod.wait_for("it to be noticed", lambda: "does not exist" in pod.state()["models"][0]["source_message"])
        # The server polls its base path each second: it must have seen what it may see.
        seen = clients.answers
        pod.wait_for("answers of more than two polls", lambda: clients.answers > seen + 500, timeout=30)
        assert pod.get("/readyz")[0] == 200
    assert clients.failures == []


def test_a_killed_server_is_fed_again_all_at_once(pod):
    for name in ("a", "b", "c"):
        pod.put(1, name=name)
    pod.serve(*(pod.model(name) for name in ("half", "a", "b", "c")))
    for name in ("half", "a", "b", "c"):
        pod.wait_serving(1, name=name)
    pod.kill_server()
    pod.wait_for("not ready", lambda: pod.get("/readyz")[0] == 503)
    before = len(pod.reloads())
    pod.start_server()
    for name in ("half", "a", "b", "c"):
        pod.wait_serving(1, name=name)
    assert pod.get("/readyz")[0] == 200
    # Models that have loaded before are added together: not a reload for each.
    assert pod.reloads()[before:] == ["a: - -> {1}; b: - -> {1}; c: - -> {1}; half: - -> {1}"]


@pytest.mark.parametrize("labels", [{"stable": 1}, {}], ids=["labelled", "without labels"])
def test_a_server_killed_while_it_loads_what_clients_had_gives_them_nothing_else(pod, labels):
    pod.serve(pod.model(policy=Specific((1,)), **labels))
    pod.wait_for("the label", lambda: pod.version(1).get("labels") == list(labels) and pod.state()["settled"])
    pod.kill_server()
    pod.wait_for("not ready", lambda: pod.get("/readyz")[0] == 503)
    pod.put(2)
    pod.serve(pod.model(policy=Specific((1, 2)), **labels))
    for deaths in (1, 2):
        before = len(pod.reloads())
        pod.start_server()
        pod.wait_for("version 1 to be sent", lambda since=before: any("{1" in change for change in pod.reloads()[since:]), timeout=60)
        pod.kill_server()
        if pod.agent is not None and deaths == 1:
            pod.kill_agent()
            pod.start_agent()
            pod.wait_for("the agent", lambda: pod.state())
    pod.start_server()
    served: list[set[int]] = []

    def is_ready():
        ready, available = pod.get("/readyz")[0] == 200, pod.available()
        served.extend([available] if ready else [])
        return ready and available == {1, 2}

    pod.wait_for("both versions", is_ready, timeout=60)
    assert all(1 in available for available in served), served
    assert pod.get("/v1/models/half/labels/stable/metadata", pod.rest_port)[0] == (200 if labels else 400)


def test_a_restarted_server_that_can_not_load_what_a_label_is_on_is_left_to_other_pods_until_the_label_goes(pod):
    directory = pod.put(2)
    pod.serve(pod.model(policy=Specific((1, 2)), stable=2))
    pod.wait_serving(1, 2)
    pod.wait_for("the label", lambda: pod.version(2)["labels"] == ["stable"])
    graph = directory / "saved_model.pb"
    graph.write_bytes(graph.read_bytes().replace(b"AddV2", b"NoAdd"))
    pod.wait_for("the files to be seen", lambda: "have been written to" in pod.version(2)["message"], timeout=60)
    assert pod.get("/readyz")[0] == 200, "what is loaded doesn't change with its files"
    pod.kill_server()
    pod.start_server()
    pod.wait_for("it to fail", lambda: pod.version(2).get("reason") == "ModelLoadFailed" and pod.available() == {1}, timeout=60)
    assert pod.wait_for("a word on why", lambda: pod.get("/readyz")[1].startswith("not ready: half: label stable waits for version 2; "))
    assert pod.get("/readyz")[0] == 503
    pod.serve(pod.model(policy=Specific((1, 2))))
    pod.wait_for("version 1 to do", lambda: pod.get("/readyz")[0] == 200)


def test_after_a_restart_what_failed_before_is_left_out_of_the_first_reload(pod):
    graph = pod.put(1, name="bad") / "saved_model.pb"
    graph.write_bytes(graph.read_bytes().replace(b"AddV2", b"NoAdd"))  # verification can't know which kernels a server has
    pod.put(1, name="good")
    pod.serve(*(pod.model(name) for name in ("half", "bad", "good")))
    pod.wait_serving(1, name="good")
    pod.wait_for("bad to fail", lambda: pod.version(1, "bad").get("reason") == "ModelLoadFailed")
    assert "NoAdd" in pod.version(1, "bad")["message"]
    pod.kill_server()
    pod.wait_for("the agent to miss it", lambda: pod.state()["server_message"])
    before = len(pod.reloads())
    pod.start_server()
    pod.wait_for("good and half", lambda: pod.available("good") == pod.available("half") == {1})
    assert pod.reloads()[before] == "good: - -> {1}; half: - -> {1}"


def test_a_killed_agent_is_back_and_truthful_within_two_seconds(pod):
    with load(pod) as clients:
        pod.kill_agent()
        begin = time.monotonic()
        pod.start_agent()
        pod.wait_for("the agent", lambda: pod.get("/readyz")[0] == 200)
        took = time.monotonic() - begin
        pod.wait_serving(1)
    assert clients.failures == []
    print(json.dumps({"agent_back_seconds": round(took, 2)}))


def test_both_killed(pod):
    pod.kill_agent()
    pod.kill_server()
    pod.start_agent()
    pod.wait_for("the agent", lambda: pod.state())
    pod.start_server()
    pod.wait_serving(1)


def test_a_rogue_reload_is_healed(pod):
    reload_by_somebody_else(pod)
    pod.wait_for("the model to go", lambda: pod.version(1).get("state") in {"UNLOADING", "END"})
    pod.wait_serving(1)


def test_a_version_that_somebody_else_loads_goes(pod):
    """In their reload it has another base path, where nothing is verified."""
    pod.serve(pod.model(policy=Specific((1,))))
    pod.wait_serving(1)
    pod.put(2)
    theirs = model_config.Model("half", str(pod.volume / "half"), Specific((1, 2)))
    reload_by_somebody_else(pod, model_config.to_message([theirs]).SerializeToString())
    pod.wait_for("their version", lambda: pod.version(2).get("state") == "AVAILABLE")
    pod.wait_serving(1)
    assert "tfmodel_agent_drifts_total 1.0" in pod.get("/metrics")[1]


def test_a_poisoned_server_is_restarted_and_fed_again(pod):
    """One reload without a platform and it refuses every other one until it is restarted; what it has loaded serves on."""
    poison = serving_pb2.ModelServerConfig()
    poison.model_config_list.config.add(name="evil", base_path="/nowhere")
    with pytest.raises(grpc.RpcError):
        reload_by_somebody_else(pod, poison.SerializeToString())
    pod.put(2)
    pod.wait_for("the suspicion", lambda: pod.get("/livez/server")[0] == 503)
    assert "refuses every reload" in pod.get("/livez/server")[1]
    assert "refuses every reload" in pod.state()["suspect"]
    assert pod.get("/readyz")[0] == 200, "version 1 serves"
    pod.kill_server()  # what the kubelet does
    pod.start_server()
    pod.wait_serving(2)
    assert pod.get("/livez/server")[0] == 200


def test_a_server_without_a_thread_to_answer_with_stays_ready(empty_pod):
    """Seven reloads that hang take all threads of two CPUs, and REST goes on: measured."""
    pod = empty_pod
    pod.put(1)
    pod.serve(pod.model())
    pod.start_server("--grpc_max_threads=8")
    pod.start_agent()
    pod.wait_serving(1, timeout=60)
    config = model_config.to_message([pod.model(policy=Specific((1,))), pod.model("missing")]).SerializeToString()
    for _ in range(7):
        with pytest.raises(grpc.RpcError):
            reload_by_somebody_else(pod, config, timeout=0.2)
    pod.wait_for("no answer", lambda: "RESOURCE_EXHAUSTED" in pod.state()["server_message"])
    assert pod.get("/readyz")[0] == 200
    assert pod.available() == {1}
    pod.put(1, name="missing")
    pod.wait_serving(1)


def test_writing_to_the_files_of_a_served_version_changes_nothing(pod):
    pod.put(2)
    pod.wait_serving(2)
    with load(pod) as clients:
        before = len(pod.reloads())
        (pod.volume / "half/2/saved_model.pb").touch()
        pod.wait_for("it to be noticed", lambda: pod.version(2)["warnings"], timeout=30)
        assert pod.version(2)["verdict"] == "Verified"
        pod.wait_for("it to be settled", lambda: not pod.version(2)["warnings"])
        assert (pod.available(), pod.reloads()[before:]) == ({2}, [])
    assert clients.failures == []


@pytest.mark.parametrize("how", ["the files are replaced", "the base path is another one"])
def test_a_version_that_serves_other_files_than_are_there_says_so_until_it_is_loaded_again(pod, how):
    """The server does not look at the files of a loaded version again: measured."""
    pod.wait_for("the digest", lambda: pod.version(1)["digest"])
    if how == "the files are replaced":
        shutil.rmtree(pod.volume / "half/1")
        pod.put(1, "half_plus_three")
    else:
        pod.put(1, "half_plus_three", name="moved")
        pod.serve(dataclasses.replace(pod.model(), base_path=str(pod.volume / "moved")))
    pod.wait_for("it to be told", lambda: "its files have been written to or replaced" in pod.version(1).get("message", ""), timeout=30)
    assert (pod.version(1)["state"], pod.version(1)["digest"], pod.get("/readyz")[0]) == ("AVAILABLE", "", 200)
    pod.kill_agent()
    pod.start_agent()
    pod.wait_for("another agent to tell it", lambda: "its files have been written to" in pod.version(1).get("message", ""))
    pod.kill_server()
    pod.start_server()
    pod.wait_serving(1, timeout=60)
    pod.wait_for("the new digest", lambda: pod.version(1)["digest"])
    assert pod.version(1)["message"] == ""


def test_an_unusable_config_changes_nothing(pod):
    with load(pod) as clients:
        (pod.config / "..data/models.config").write_text("no config")
        pod.wait_for("it to be reported", lambda: "models.config" in pod.state()["config_message"])
        assert pod.get("/readyz")[0] == 200
        pod.serve(pod.model(policy=All()))
        pod.put(2)
        pod.wait_serving(1, 2)
    assert clients.failures == []


@pytest.mark.parametrize("is_kept", [True, False], ids=["the last usable one is kept", "nothing is known of it"])
def test_an_agent_that_is_started_with_an_unusable_config_unloads_nothing(pod, is_kept):
    with load(pod) as clients:
        (pod.config / "..data/models.config").write_text("no config")
        pod.kill_agent()
        before = len(pod.reloads())
        if not is_kept:
            shutil.rmtree(pod.view)
            (pod.view / "half").mkdir(parents=True)
            (pod.view / "half/1").symlink_to(pod.volume / "half/1")  # the server polls it
        pod.start_agent()
        pod.wait_for("it to be reported", lambda: "models.config" in pod.state().get("config_message", ""))
        if is_kept:
            pod.wait_for("readiness", lambda: pod.get("/readyz")[0] == 200)
            pod.put(2)
            pod.wait_for("another version to be served", lambda: pod.available() == {2})
        else:
            pod.wait_for("the step", lambda: pod.state()["step"] == "waiting for a config that can be used")
            looks = looks_made(pod)
            pod.wait_for("some more looks", lambda: looks_made(pod) >= looks + 5)
            assert pod.reloads()[before:] == []
        pod.serve(pod.model(policy=All()))
        pod.put(3)
        pod.wait_for("a usable config to be served", lambda: pod.available() >= {1, 3})
    assert clients.failures == []


def test_a_view_that_cannot_be_written_to_stops_nothing_that_serves(pod):
    (pod.view / "other").write_text("where the directory of links should be, as on a disk that is full")
    pod.put(1, name="other")
    agent = pod.agent.pid
    pod.serve(pod.model(), pod.model("other"))
    pod.wait_for("the reason", lambda: "waiting for room for a link" in pod.state().get("step", ""))
    assert pod.available() == {1}
    (pod.view / "other").unlink()
    pod.wait_serving(1, name="other")
    assert (pod.agent.pid, pod.agent.poll()) == (agent, None)


def test_stray_directories_are_never_shown_to_the_server(pod):
    for name in ("0", "-4", "3.tmp", "v2", "lost+found"):
        (pod.volume / "half" / name).mkdir()
    (pod.volume / "half/9").write_text("a file")
    os.mkfifo(pod.volume / "half/8")
    pod.put(2)
    pod.serve(pod.model(policy=All()))
    pod.wait_serving(1, 2)
    assert sorted(path.name for path in (pod.view / "half").iterdir()) == ["1", "2"]
    assert pod.version(9)["verdict"] == "Rejected"


def test_a_label_that_cannot_move_stays_where_it_is_whoever_is_restarted(pod):
    def is_labelled():
        return pod.get("/v1/models/half/labels/stable/metadata", pod.rest_port)[0] == 200

    pod.serve(pod.model(policy=Specific((1,)), stable=1))
    pod.wait_for("the label", is_labelled)
    (pod.put(2) / "saved_model.pb").write_bytes(b"no model")
    pod.serve(pod.model(policy=Specific((1, 2)), stable=2))
    pod.wait_for("the verdict", lambda: pod.version(2).get("verdict") == "Rejected", timeout=60)
    assert is_labelled()
    before = len(pod.reloads())
    pod.kill_agent()
    pod.start_agent()
    pod.wait_for("the other agent's first reload", lambda: len(pod.reloads()) > before and pod.state()["settled"])
    assert is_labelled()
    pod.kill_server()
    pod.start_server()
    pod.wait_for("the label on another server", is_labelled, timeout=60)


def test_latest_two(pod):
    pod.put(2)
    pod.put(3)
    pod.serve(pod.model(policy=Latest(2)))
    pod.wait_serving(2, 3)


def test_a_drain_needs_the_token(pod):
    assert pod.get("/drain")[0] == 403
    assert pod.get("/readyz")[0] == 200


def test_metrics(pod):
    code, body = pod.get("/metrics")
    assert code == 200
    assert 'tfmodel_agent_version_available{model_name="half",version="1"} 1.0' in body
    assert "tfmodel_agent_ready 1.0" in body
    assert 'tfmodel_agent_reloads_total{result="answered"}' in body


def test_the_state_is_tagged_and_waits_for_a_change(pod):
    import urllib.request

    url = f"http://127.0.0.1:{pod.agent_port}/v1/state"
    with urllib.request.urlopen(url, timeout=5) as response:
        tag = response.headers["ETag"]
    request = urllib.request.Request(f"{url}?wait=0.2", headers={"If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        urllib.request.urlopen(request, timeout=5)
    assert unchanged.value.code == 304
    pod.put(2)
    waiting = urllib.request.Request(f"{url}?wait=20", headers={"If-None-Match": tag})
    with urllib.request.urlopen(waiting, timeout=25) as response:
        assert response.headers["ETag"] != tag
