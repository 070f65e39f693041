"""A TFModel as frozen values, parsed from the object the API server gave us."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from tfmodel_operator.api import labels, quantities, rollout_spec, rules, server_spec
from tfmodel_operator.api.rules import InvalidSpec
from tfmodel_serving import model_config, warmup

MAX_LATEST = 2**31 - 1
"""Of `num_versions`, which the model server has 32 bits for."""

__all__ = ["Claim", "Host", "InvalidSpec", "ModelServer", "TFModel", "parse", "parse_server"]


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """Source: a directory on a PersistentVolumeClaim."""

    claim_name: str
    path: str = ""

    def __str__(self) -> str:
        return f"PersistentVolumeClaim {self.claim_name}, path {self.path or '.'}"


@dataclasses.dataclass(frozen=True, slots=True)
class Warmup:
    """What is asked of a version's warm-up file."""

    policy: warmup.Policy
    min_records: int


@dataclasses.dataclass(frozen=True, slots=True)
class TFModel:
    """One TFModel.

    Args:
        generation: Counts changes of spec.
        version_labels: Label to version; empty: `stable` is kept on the promoted one.
        retry: Text of the annotation :data:`rollout_spec.RETRY`; ``""`` if there is none.
        upgrade: Its pods are to follow this operator's version at once.
        server_ref: Name of the TFModelServer to join; ``""``: none is named.
        server_selector: Labels of the TFModelServers to choose from; None: no choice is wanted.
        memory_bytes: What it is declared to take; None: nothing is declared.
        created: RFC 3339.
        is_held: What is published of it stays as it is, because its spec can't be acted on: this is read from there.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    model_name: str
    source: Claim
    version_policy: model_config.VersionPolicy
    version_labels: Mapping[str, int]
    warmup: Warmup
    server: server_spec.Server
    rollout: rollout_spec.Rollout = dataclasses.field(default_factory=rollout_spec.Rollout)
    retry: str = ""
    upgrade: bool = False
    server_ref: str = ""
    server_selector: Mapping[str, str] | None = None
    memory_bytes: int | None = None
    created: str = ""
    is_held: bool = False

    @property
    def is_joined(self) -> bool:
        """It shares a server with others; ``server`` says nothing then."""
        return bool(self.server_ref) or self.server_selector is not None

    kind = "TFModel"

    @property
    def server_label(self) -> str:
        """The value of :data:`labels.SERVER` on its own server's objects."""
        return self.name

    @property
    def claims(self) -> tuple[str, ...]:
        """The claims to mount, by name."""
        return (self.source.claim_name,)

    @property
    def uses_warmup(self) -> bool:
        return self.warmup.policy is not warmup.Policy.IGNORE


@dataclasses.dataclass(frozen=True, slots=True)
class ModelServer:
    """One TFModelServer.

    Args:
        generation: Counts changes of spec.
        labels: Its own, by which models select it.
        memory_budget_bytes: For all models together; None: memory isn't counted.
        volumes: Claims to mount whether or not a model is on them.
        claims: All claims to mount, by name.
        upgrade: Its pods are to follow this operator's version at once.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    labels: Mapping[str, str]
    server: server_spec.Server
    max_models: int
    memory_budget_bytes: int | None
    volumes: tuple[str, ...]
    claims: tuple[str, ...]
    upgrade: bool = False

    kind = "TFModelServer"
    uses_warmup = True

    @property
    def server_label(self) -> str:
        """The value of :data:`labels.SERVER` on its objects and pods."""
        return labels.shared(self.name)


Host = TFModel | ModelServer
"""Whose pods are made: a TFModel with servers of its own, or a TFModelServer."""


def parse(body: Mapping[str, Any]) -> TFModel:
    """Return the TFModel in ``body``.

    Raises:
        InvalidSpec: The schema should have refused it; an older schema may not have.
    """
    metadata = body["metadata"]
    with _told("TFModel"):
        rules.check(metadata["name"], body["spec"])
        return _parse(metadata, body["spec"])


def parse_server(body: Mapping[str, Any]) -> ModelServer:
    """Return the TFModelServer in ``body``.

    Raises:
        InvalidSpec: As :func:`parse`.
    """
    metadata, spec = body["metadata"], body["spec"]
    with _told("TFModelServer"):
        rules.check_server(metadata["name"], spec)
        volumes = tuple(sorted(volume["claimName"] for volume in spec.get("volumes", ())))
        return ModelServer(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            labels=dict(metadata.get("labels") or {}),
            server=server_spec.parse(spec),
            max_models=spec["maxModels"],
            memory_budget_bytes=_bytes(spec.get("memoryBudget")),
            volumes=volumes,
            claims=volumes,
            upgrade=_upgrade(metadata),
        )


@contextlib.contextmanager
def _told(kind: str) -> Iterator[None]:
    """Turn what is not as the schema says into words."""
    try:
        yield
    except rollout_spec.InvalidRollout as error:
        raise InvalidSpec(str(error)) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InvalidSpec):
            raise
        said = f"lacks {error}" if isinstance(error, KeyError) else f"is not as its schema says: {error}"
        raise InvalidSpec(f"spec {said}: apply the CRD of this operator's version, then the {kind} again") from error


def _parse(metadata: Mapping[str, Any], spec: Mapping[str, Any]) -> TFModel:
    claim = spec["source"]["persistentVolumeClaim"]
    annotations = metadata.get("annotations") or {}
    return TFModel(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        model_name=spec.get("modelName", metadata["name"]),
        source=Claim(claim["claimName"], claim["path"].strip("/")),
        version_policy=_policy(spec.get("versionPolicy", {"latest": {"numVersions": 1}})),
        version_labels={str(label): _version(version) for label, version in spec.get("versionLabels", {}).items()},
        warmup=Warmup(warmup.Policy(spec["warmup"]["policy"]), spec["warmup"]["minRecords"]),
        server=server_spec.parse(spec.get("server", server_spec.EMPTY)),
        upgrade=_upgrade(metadata),
        server_ref=spec["serverRef"]["name"] if "serverRef" in spec else "",
        server_selector=dict(spec["serverSelector"].get("matchLabels", {})) if "serverSelector" in spec else None,
        memory_bytes=_bytes(spec.get("memory")),
        created=metadata.get("creationTimestamp", ""),
        rollout=rollout_spec.parse(spec.get("rollout", {})),
        retry=annotations.get(rollout_spec.RETRY, ""),
    )


def _upgrade(metadata: Mapping[str, Any]) -> bool:
    return bool((metadata.get("annotations") or {}).get(labels.UPGRADE) == "now")


def _bytes(quantity: str | int | None) -> int | None:
    return None if quantity is None else math.ceil(quantities.parse(quantity))


def _version(number: Any) -> int:
    """Return a number as versions have them; what the model server can't be sent would hold up all that share it."""
    if type(number) is not int or not 1 <= number <= model_config.MAX_VERSION:
        raise InvalidSpec(f"spec: {str(number)[:40]!r} is no version: use a whole number from 1 to {model_config.MAX_VERSION}")
    return number


def _policy(policy: Mapping[str, Any]) -> model_config.VersionPolicy:
    match dict(policy):
        case {"all": _, **others} if not others:
            return model_config.All()
        case {"specific": {"versions": [_, *_] as versions}, **others} if not others:
            return model_config.Specific(tuple(sorted({_version(version) for version in versions})))
        case {"latest": {"numVersions": count}, **others} if not others:
            return model_config.Latest(min(_version(count), MAX_LATEST))
    raise InvalidSpec("spec.versionPolicy: choose exactly one of latest, all and specific")
