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
from tfmodel_operator.api.any_shape import at, text_at
from tfmodel_operator.plan import configmap, join
from tfmodel_serving import agent_config, model_config, warmup


def last_good(body: Mapping[str, Any], live: Mapping[str, Any] | None) -> spec.TFModel | None:
    """Return a TFModel as the published config of its server has it; None: it isn't there.

    Args:
        body: The TFModel, whose spec may be of any shape.
        live: The live ConfigMap.
    """
    metadata = body["metadata"]
    model_name = text_at(body, "spec", "modelName") or metadata["name"]  # spec can't have had another one
    content = configmap.read(live)
    source = configmap.published_source(content, model_name)
    if content is None or source is None or join.incumbents(live).get(metadata["name"]) != metadata["uid"]:
        return None
    settings = content.settings.get(model_name, agent_config.ModelSettings())
    model = spec.TFModel(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        model_name=model_name,
        source=source,
        version_policy=model_config.Latest(),
        version_labels={},
        warmup=spec.Warmup(warmup.Policy(settings.warmup_policy), settings.min_records),
        server=server_spec.parse(server_spec.EMPTY),
        server_ref=text_at(body, "spec", "serverRef", "name"),
        memory_bytes=_declared(body),
        created=metadata.get("creationTimestamp", ""),
    )
    return keeping(model, content)


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


def _declared(body: Mapping[str, Any]) -> int | None:
    try:
        return math.ceil(quantities.parse(at(body, "spec", "memory")))
    except ValueError:
        return None
