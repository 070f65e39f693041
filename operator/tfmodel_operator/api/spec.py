"""A TFModel as frozen values, parsed from the object the API server gave us."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfmodel_serving import model_config

DEFAULT_REPLICAS = 1
"""Not a default in the schema: a replicas field that Git leaves to an autoscaler must not come back as 1."""


class InvalidSpec(ValueError):
    """A spec that can't be acted on although the API server let it in; the message says what to change."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """Source: a directory on a PersistentVolumeClaim."""

    claim_name: str
    path: str = ""

    def __str__(self) -> str:
        return f"PersistentVolumeClaim {self.claim_name}, path {self.path or '.'}"


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """How the model servers are run.

    Args:
        resources: As in a container.
    """

    image: str
    replicas: int
    resources: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class TFModel:
    """One TFModel. ``generation`` counts changes of spec; ``status`` is the stored one."""

    namespace: str
    name: str
    uid: str
    generation: int
    model_name: str
    source: Claim
    version_policy: model_config.VersionPolicy
    server: Server


def parse(body: Mapping[str, Any]) -> TFModel:
    """Return the TFModel in ``body``.

    Raises:
        InvalidSpec: The schema should have refused it; an older schema may not have.
    """
    metadata = body["metadata"]
    try:
        spec = body["spec"]
        claim = spec["source"]["persistentVolumeClaim"]
        source = Claim(claim["claimName"], claim.get("path", "").strip("/"))
        server = spec.get("server", {})
        model = TFModel(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            model_name=spec.get("modelName", metadata["name"]),
            source=source,
            version_policy=_policy(spec.get("versionPolicy", {"latest": {}})),
            server=Server(server["image"], server.get("replicas", DEFAULT_REPLICAS), server.get("resources", {})),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidSpec(f"spec lacks {error}: apply the CRD of this operator's version, then the TFModel again") from error
    if ".." in model.source.path.split("/"):
        raise InvalidSpec("spec.source.persistentVolumeClaim.path must stay on the claim; write it without '..'")
    return model


def _policy(policy: Mapping[str, Any]) -> model_config.VersionPolicy:
    match dict(policy):
        case {"all": _}:
            return model_config.All()
        case {"specific": {"versions": versions}}:
            return model_config.Specific(tuple(sorted(versions)))
        case {"latest": latest}:
            return model_config.Latest(latest.get("numVersions", 1))
    raise InvalidSpec("spec.versionPolicy: choose exactly one of latest, all and specific")
