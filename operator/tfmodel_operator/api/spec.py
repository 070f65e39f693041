"""A TFModel as frozen values, parsed from the object the API server gave us."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import labels, rollout_spec, rules, server_spec
from tfmodel_operator.api.rules import InvalidSpec
from tfmodel_serving import model_config, warmup

__all__ = ["Claim", "InvalidSpec", "TFModel", "parse"]


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


def parse(body: Mapping[str, Any]) -> TFModel:
    """Return the TFModel in ``body``.

    Raises:
        InvalidSpec: The schema should have refused it; an older schema may not have.
    """
    metadata = body["metadata"]
    try:
        rules.check(metadata["name"], body["spec"])
        return _parse(metadata, body["spec"])
    except rollout_spec.InvalidRollout as error:
        raise InvalidSpec(str(error)) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InvalidSpec):
            raise
        said = f"lacks {error}" if isinstance(error, KeyError) else f"is not as its schema says: {error}"
        raise InvalidSpec(f"spec {said}: apply the CRD of this operator's version, then the TFModel again") from error


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
        version_labels=dict(spec.get("versionLabels", {})),
        warmup=Warmup(warmup.Policy(spec["warmup"]["policy"]), spec["warmup"]["minRecords"]),
        server=server_spec.parse(spec["server"]),
        rollout=rollout_spec.parse(spec.get("rollout", {})),
        retry=annotations.get(rollout_spec.RETRY, ""),
        upgrade=annotations.get(labels.UPGRADE) == "now",
    )


def _policy(policy: Mapping[str, Any]) -> model_config.VersionPolicy:
    match dict(policy):
        case {"all": _, **others} if not others:
            return model_config.All()
        case {"specific": {"versions": versions}, **others} if not others:
            return model_config.Specific(tuple(sorted(versions)))
        case {"latest": {"numVersions": count}, **others} if not others:
            return model_config.Latest(count)
    raise InvalidSpec("spec.versionPolicy: choose exactly one of latest, all and specific")
