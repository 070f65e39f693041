"""Fifty models on one server: what it takes to join, and what a look at all of them costs the agent.

`join_*`: mounted files changed -> the new model AVAILABLE (its files are looked at twice, and the server polls each second).
`agent_ms_per_model`: CPU of one look at the server, from asking to the report, by model; `agent_ms_per_model_10`: with ten.
`fresh_seconds`: agent started -> all fifty AVAILABLE.
`refed_seconds`: the server is up again after a kill -> all fifty AVAILABLE.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from tests.agent.conftest import Pod
from tfmodel_agent import history as memory
from tfmodel_agent import looks, modelserver, report, steps
from tfmodel_serving import agent_config, model_config, saved_model

MODELS = 50
JOINS = 9
ROUNDS, LOOKS = 5, 20


def measure(pod: Pod) -> dict[str, object]:
    """Measure on a pod of which nothing runs yet."""
    pod.readiness = agent_config.Readiness.PER_MODEL
    for number in range(MODELS + JOINS):
        pod.put(1, name=f"m{number:02}")
    pod.serve(*(pod.model(f"m{number:02}") for number in range(MODELS)))
    pod.start_server()
    wait_open(pod)
    begin = time.monotonic()
    pod.start_agent()
    pod.wait_for("fifty models", lambda: count(pod) == MODELS and pod.state()["settled"], timeout=180)
    figures: dict[str, object] = {"fresh_seconds": time.monotonic() - begin}
    names = [f"m{number:02}" for number in range(MODELS)]
    figures["agent_ms_per_model"] = asyncio.run(look_ms(pod, names))
    figures["agent_ms_per_model_10"] = asyncio.run(look_ms(pod, names[:10]))
    joined = [join(pod, f"m{number:02}") for number in range(MODELS, MODELS + JOINS)]
    figures |= {"join_seconds": statistics.median(joined), "join_max_seconds": max(joined)}
    pod.kill_server()
    pod.start_server()
    wait_open(pod)
    begin = time.monotonic()
    pod.wait_for("all again", lambda: count(pod) == MODELS + JOINS, timeout=60)
    return figures | {"refed_seconds": time.monotonic() - begin}


def measure_looks(pod: Pod) -> float:
    """Return the CPU milliseconds by model of a look at fifty models, on a pod of which nothing runs yet."""
    pod.readiness = agent_config.Readiness.PER_MODEL
    names = [f"m{number:02}" for number in range(MODELS)]
    for name in names:
        pod.put(1, name=name)
    pod.serve(*map(pod.model, names))
    pod.start_server()
    wait_open(pod)
    pod.start_agent()
    pod.wait_for("fifty models", lambda: count(pod) == MODELS and pod.state()["settled"], timeout=180)
    return asyncio.run(look_ms(pod, names))


def join(pod: Pod, name: str) -> float:
    """Return the seconds until one more model is AVAILABLE."""
    begin = time.monotonic()
    pod.serve(*pod.models.values(), pod.model(name))
    pod.wait_for(name, lambda: '"AVAILABLE"' in pod.get(f"/v1/models/{name}", pod.rest_port)[1])
    took = time.monotonic() - begin
    print(f"{name} AVAILABLE after {took:.2f} s", file=sys.stderr)
    pod.wait_for("rest", lambda: pod.state()["settled"])
    return took


def count(pod: Pod) -> int:
    return sum(model["available"] for model in pod.state().get("models", []))


def wait_open(pod: Pod) -> None:
    pod.wait_for("the server", lambda: pod.get("/v1/models/any", pod.rest_port)[0] == 404, timeout=60)


async def look_ms(pod: Pod, names: list[str]) -> float:
    """Return the CPU milliseconds by model of a look at all of ``names``, in this process, as the agent's loop does it.

    Of several rounds the least is told: whatever else the machine does only adds.
    """
    server = modelserver.ModelServer(f"127.0.0.1:{pod.grpc_port}")
    found = {1: saved_model.Finding(saved_model.Verdict.VERIFIED)}
    wanted = [steps.Wanted(model_config.Model(name, f"/models/{name}"), found, {1: "files"}) for name in names]
    rounds = []
    try:
        await server.look(names)
        for _ in range(ROUNDS):
            begin = time.process_time()
            await look(server, names, wanted)
            rounds.append(time.process_time() - begin)
    finally:
        await server.close()
    return min(rounds) / LOOKS / len(names) * 1000


async def look(server: modelserver.ModelServer, names: list[str], wanted: list[steps.Wanted]) -> None:
    fingerprints: dict[tuple[str, int], object] = {(name, 1): "files" for name in names}
    history = memory.History()
    for _ in range(LOOKS):
        now = time.monotonic()
        seen = await server.look(names)
        history = looks.fold(history, seen, fingerprints, now)
        step = steps.next_step(wanted, seen, history, now)
        report.report("uid", "hash", "", wanted, seen, history, step, now, {})
        if step.push is not None:
            history = memory.answered(memory.sent(history, step.push, now, fingerprints), now)
