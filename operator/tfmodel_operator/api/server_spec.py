"""`spec.server`: how model servers are run, as frozen values.

Defaults stand in the schema alone. What is left out here on purpose has a default that follows from something else: the image
from the accelerator, threads from the CPU limit, the age of connections from the drain.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import images, quantities
from tfmodel_serving.batching import Batching

DEFAULT_REPLICAS = 1
"""Not a default in the schema: a replicas field that Git leaves to an autoscaler must not come back as 1."""

EMPTY: Mapping[str, Any] = {
    "loading": {"loadThreads": 8, "unloadThreads": 4, "maxRetries": 0, "retryIntervalSeconds": 1},
    "rest": {"timeoutMillis": 30000},
    "grpc": {},
    "profiler": "Disabled",
    "drainSeconds": 20,
    "updateStrategy": "Auto",
    "service": {"type": "ClusterIP"},
    "networkPolicy": {"policy": "Enabled"},
    "agent": {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}},
}
"""What the schema makes of ``{}``: for a TFModel that says nothing about its servers, where the schema has no default because it
would be in the way of joining a shared one. A test holds the two against each other."""


class UpdateStrategy(enum.StrEnum):
    """How pods are replaced when their template changes."""

    AUTO = "Auto"
    SURGE_FIRST = "SurgeFirst"
    REPLACE_FIRST = "ReplaceFirst"
    RECREATE = "Recreate"


class ServiceType(enum.StrEnum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class Switch(enum.StrEnum):
    ENABLED = "Enabled"
    DISABLED = "Disabled"


@dataclasses.dataclass(frozen=True, slots=True)
class Accelerator:
    """Devices of each pod.

    Args:
        resource: An extended resource's name.
        memory_fraction: A decimal, or ``""``: TensorFlow takes nearly all of the device's memory.
    """

    resource: str
    count: int
    memory_fraction: str
    allow_growth: bool

    def __str__(self) -> str:
        return f"{self.count} {self.resource}"


@dataclasses.dataclass(frozen=True, slots=True)
class Parallelism:
    """Threads of TensorFlow's session; 0 leaves the number to TensorFlow, which takes the CPUs it can be scheduled on."""

    intra_op: int
    inter_op: int


@dataclasses.dataclass(frozen=True, slots=True)
class Loading:
    """How the server loads and unloads versions."""

    load_threads: int
    unload_threads: int
    max_retries: int
    retry_interval_seconds: int


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """The Service for clients."""

    type: ServiceType
    annotations: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Who may connect.

    Args:
        sources: Peers as in a NetworkPolicy; none: the pods of the namespace.
    """

    policy: Switch
    sources: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """How the model servers are run.

    Args:
        given_image: ``""`` if spec names none.
        given_replicas: None if spec names none.
        resources: As in a container, without the accelerator.
        max_connection_age_seconds: None if spec names none.
        extra_args: Each ``--flag=value``.
        pod: As in spec.server.pod, whose fields are Kubernetes' own.
        agent_resources: As in a container.
        memory_limit: Of the model server's container, in bytes; None: there is none.
    """

    given_image: str
    given_replicas: int | None
    accelerator: Accelerator | None
    resources: Mapping[str, Any]
    batching: Batching | None
    parallelism: Parallelism
    loading: Loading
    rest_timeout_millis: int
    max_connection_age_seconds: int | None
    profiler: Switch
    drain_seconds: int
    update_strategy: UpdateStrategy
    extra_args: tuple[str, ...]
    pod: Mapping[str, Any]
    service: Service
    network_policy: NetworkPolicy
    agent_resources: Mapping[str, Any]
    memory_limit: int | None = None

    @property
    def image(self) -> str:
        return self.given_image or images.default(accelerated=self.accelerator is not None)

    @property
    def replicas(self) -> int:
        """Pods wanted where nobody else says how many."""
        return DEFAULT_REPLICAS if self.given_replicas is None else self.given_replicas

    @property
    def cpus(self) -> int:
        """The CPU limit in whole CPUs; 0: there is none."""
        return quantities.whole_cpus(self.resources.get("limits", {}).get("cpu"))


def parse(fields: Mapping[str, Any]) -> Server:
    """Return the server in ``spec.server``.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: Not what the schema admits.
    """
    resources = fields.get("resources", {})
    cpus = quantities.whole_cpus(resources.get("limits", {}).get("cpu"))
    memory = resources.get("limits", {}).get("memory")
    parallelism = fields.get("parallelism", {})
    service, network_policy = fields["service"], fields["networkPolicy"]
    return Server(
        given_image=fields.get("image", ""),
        given_replicas=fields.get("replicas"),
        accelerator=_accelerator(fields["accelerator"]) if "accelerator" in fields else None,
        resources=resources,
        batching=_batching(fields["batching"], cpus) if "batching" in fields else None,
        parallelism=Parallelism(parallelism.get("intraOp", cpus), parallelism.get("interOp", cpus)),
        loading=_loading(fields["loading"]),
        rest_timeout_millis=fields["rest"]["timeoutMillis"],
        max_connection_age_seconds=fields["grpc"].get("maxConnectionAgeSeconds"),
        profiler=Switch(fields["profiler"]),
        drain_seconds=fields["drainSeconds"],
        update_strategy=UpdateStrategy(fields["updateStrategy"]),
        extra_args=tuple(fields.get("extraArgs", ())),
        pod=fields.get("pod", {}),
        service=Service(ServiceType(service["type"]), service.get("annotations", {})),
        network_policy=NetworkPolicy(Switch(network_policy["policy"]), tuple(network_policy.get("from", ()))),
        agent_resources=fields["agent"]["resources"],
        memory_limit=None if memory is None else int(quantities.parse(memory)),
    )


def _accelerator(fields: Mapping[str, Any]) -> Accelerator:
    return Accelerator(fields["resource"], fields["count"], fields.get("memoryFraction", ""), fields["allowGrowth"])


def _batching(fields: Mapping[str, Any], cpus: int) -> Batching:
    return Batching(
        max_batch_size=fields["maxBatchSize"],
        batch_timeout_micros=fields["batchTimeoutMicros"],
        max_enqueued_batches=fields["maxEnqueuedBatches"],
        num_batch_threads=fields.get("numBatchThreads", cpus),
        allowed_batch_sizes=tuple(fields.get("allowedBatchSizes", ())),
        pad_variable_length_inputs=fields["padVariableLengthInputs"],
    )


def _loading(fields: Mapping[str, Any]) -> Loading:
    return Loading(fields["loadThreads"], fields["unloadThreads"], fields["maxRetries"], fields["retryIntervalSeconds"])
