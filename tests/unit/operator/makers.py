"""Values with defaults, so that a test names only what it is about."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from tests import schema
from tfmodel_operator.api import facts, spec
from tfmodel_operator.plan import plan
from tfmodel_operator.plan.platform import Platform
from tfmodel_serving.state import AgentState, ModelState, VersionState

UID = "11111111-2222-3333-4444-555555555555"


def body(name: str = "half", generation: int = 3, **given: Any) -> dict[str, Any]:
    """A TFModel as the API server returns it, defaults included."""
    made = {
        "apiVersion": "serving.tfmodel.dev/v1alpha1",
        "kind": "TFModel",
        "metadata": {"name": name, "namespace": "ml", "uid": UID, "generation": generation, "resourceVersion": "7"},
        "spec": {
            "source": {"persistentVolumeClaim": {"claimName": "models", "path": name}},
            "server": {"image": "tensorflow/serving:2.19.1"},
            **given,
        },
    }
    return schema.defaulted(made)


def tfmodel(**given: Any) -> spec.TFModel:
    return spec.parse(body(**given))


def server_body(name: str = "pool", generation: int = 2, **given: Any) -> dict[str, Any]:
    """A TFModelServer as the API server returns it, defaults included."""
    metadata = {"name": name, "namespace": "ml", "uid": f"uid-of-{name}", "generation": generation, "resourceVersion": "7"}
    made = {"apiVersion": "serving.tfmodel.dev/v1alpha1", "kind": "TFModelServer", "metadata": metadata, "spec": dict(given)}
    return schema.defaulted(made)


def model_server(name: str = "pool", **given: Any) -> spec.ModelServer:
    return spec.parse_server(server_body(name, **given))


def joined_body(
    name: str, server: str = "pool", *, claim: str = "models", path: str | None = None, created: str = "2026-01-01T00:00:00Z", **given: Any
) -> dict[str, Any]:
    """A TFModel on a shared server."""
    made = body(name, generation=1, **given)
    made["metadata"] |= {"uid": f"uid-of-{name}", "creationTimestamp": created}
    made["spec"]["source"] = {"persistentVolumeClaim": {"claimName": claim, "path": name if path is None else path}}
    del made["spec"]["server"]
    if "serverSelector" not in given:
        made["spec"]["serverRef"] = {"name": server}
    return made


def joined_model(name: str, server: str = "pool", **given: Any) -> spec.TFModel:
    return spec.parse(joined_body(name, server, **given))


def version(
    number: int = 1, state: str = "AVAILABLE", verdict: str = "Verified", *, wanted: bool = True, message: str = "", **given: Any
) -> VersionState:
    return VersionState(number, verdict, state, wanted, message, **given)


def agent(*versions: VersionState, config_hash: str = "hash", ready: bool = True, settled: bool = True, **given: Any) -> AgentState:
    models = (ModelState("half", given.pop("source_message", ""), versions),)
    return AgentState("uid", config_hash, ready, settled, "still moving", models=given.pop("models", models), **given)


def pod(name: str = "half-1", *versions: VersionState, ready: bool = True, current: bool = True, **given: Any) -> facts.PodFacts:
    return facts.PodFacts(name, current, ready, agent_started=True, agent=agent(*versions, **given))


def silent(name: str = "half-1", **given: Any) -> facts.PodFacts:
    """A pod whose agent says nothing."""
    return facts.PodFacts(name, **{"agent_message": "its agent has not answered yet", "phase": "container agent is starting", **given})


def made(*pods: facts.PodFacts, **given: Any) -> facts.DeploymentFacts:
    """What a Deployment's controller says that has these pods, and all it wants."""
    counted = {"wanted": len(pods), "replicas": len(pods), "updated": sum(p.current for p in pods), "ready": sum(p.ready for p in pods)}
    return facts.DeploymentFacts(**{"observed": True, "image": "tensorflow/serving:2.19.1", **counted, **given})


def seen(
    *pods: facts.PodFacts, policy: Any = None, deployment: dict[str, Any] | None = None, replicas: int | None = None, **given: Any
) -> facts.Facts:
    """Facts about a server with these pods, in which nothing is wrong unless given."""
    wanted = {} if replicas is None else {"wanted": replicas}
    model = tfmodel(**({"versionPolicy": policy} if policy else {}))
    return facts.Facts(model=model, config_hash="hash", deployment=made(*pods, **wanted, **(deployment or {})), pods=pods, **given)


PLATFORM = Platform("registry/tfmodel-operator:1.2.3", "tfmodel-system")
NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True)
class Live:
    """What exists of a server."""

    deployment: dict[str, Any] | None = None
    pods: tuple[dict[str, Any], ...] = ()
    configmaps: tuple[dict[str, Any], ...] = ()


def planned(platform: Platform = PLATFORM, live: Live | None = None, now: datetime.datetime = NOW, **given: Any) -> plan.Plan:
    return plan.make_plan(tfmodel(**given), platform, live or Live(), now)
