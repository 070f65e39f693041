"""A model that is served while its spec can't be acted on: what is published of it is what it keeps.

An older schema may have let in what this operator refuses, or somebody may have written what the schema can't see is wrong.
That is for its owner to mend. What serves goes on serving, as on a server of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfmodel_operator.api import quantities, server_spec, spec
from tfmodel_operator.plan import configmap, join
from tfmodel_serving import agent_config, model_config, warmup


def last_good(body: Mapping[str, Any], live: Mapping[str, Any] | None) -> spec.TFModel | None:
    """Return a TFModel as the published config of its server has it; None: it isn't there.

    Args:
        body: The TFModel, whose spec may be of any shape.
        live: The live ConfigMap.
    """
    metadata, said = body["metadata"], body.get("spec")
    wish: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    model_name = str(wish.get("modelName", metadata["name"]))  # spec can't have had another one
    content = configmap.read(live)
    published, source = configmap.published(content, model_name), configmap.published_source(content, model_name)
    if content is None or published is None or source is None or join.incumbents(live).get(metadata["name"]) != metadata["uid"]:
        return None
    settings = content.settings.get(model_name, agent_config.ModelSettings())
    return spec.TFModel(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        model_name=model_name,
        source=source,
        version_policy=published.config.served or model_config.Latest(),
        version_labels=published.config.labels,
        warmup=spec.Warmup(warmup.Policy(settings.warmup_policy), settings.min_records),
        server=server_spec.parse(server_spec.EMPTY),
        server_ref=_server_ref(wish),
        memory_bytes=_declared(wish),
        created=metadata.get("creationTimestamp", ""),
        is_held=True,
    )


def keeping(model: spec.TFModel, content: configmap.Content | None) -> spec.TFModel:
    """Return ``model`` with what is published of it in place of what it asks for by now.

    Args:
        content: What the live ConfigMap says.
    """
    published, source = configmap.published(content, model.model_name), configmap.published_source(content, model.model_name)
    return dataclasses.replace(
        model,
        source=source or model.source,
        version_policy=(published.config.served if published else None) or model_config.Latest(),
        version_labels=published.config.labels if published else {},
        is_held=True,
    )


def _server_ref(wish: Mapping[str, Any]) -> str:
    named = wish.get("serverRef")
    return str(named.get("name", "")) if isinstance(named, Mapping) else ""


def _declared(wish: Mapping[str, Any]) -> int | None:
    try:
        return math.ceil(quantities.parse(wish["memory"]))
    except (KeyError, ValueError):
        return None
