"""A config that speaks of a claim which this pod has not mounted: that of the pods which are to replace it."""

from __future__ import annotations

import dataclasses

import pytest


@pytest.mark.parametrize("killed", ["", "server", "agent", "both"])
def test_a_pod_serves_what_it_has_until_another_takes_its_place(pod, killed):
    pod.wait_serving(1)
    elsewhere = dataclasses.replace(pod.model(), base_path="/models/another-claim/half")
    pod.serve(elsewhere)
    pod.wait_for("the new config", lambda: "another-claim" in pod.model_state("half").get("source_message", ""))
    if killed in {"server", "both"}:
        pod.kill_server()
        pod.wait_for("the agent to miss it", lambda: pod.state()["server_message"])
    if killed in {"agent", "both"}:
        pod.kill_agent()
        pod.start_agent()
        pod.wait_for("the agent", lambda: pod.state())
    if killed in {"server", "both"}:
        pod.start_server()
    pod.wait_for("version 1", lambda: pod.available() == {1}, timeout=30)
    assert pod.get("/readyz")[0] == 200
