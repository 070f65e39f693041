"""A loaded SavedModel and its signatures (servables/tensorflow/saved_model_bundle_factory.cc)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.modelserver import tensorflow_c
from tests.modelserver.batching import BatchLimits
from tests.modelserver.protos import meta_graph_pb2
from tests.modelserver.tensorflow_c import Array


class Bundle:
    """One version of a model in memory.

    Attributes:
        limits: What the batching session in front of the model refuses, if batching is on.
    """

    def __init__(self, path: str, tags: Sequence[str], config: bytes) -> None:
        self._session = tensorflow_c.Session(path, tags, config)
        self.limits: BatchLimits | None = None
        meta_graph = meta_graph_pb2.MetaGraphDef.FromString(self._session.meta_graph_def)
        self.signatures: Mapping[str, Any] = {name: meta_graph.signature_def[name] for name in meta_graph.signature_def}
        self._session.meta_graph_def = b""

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], run_options: bytes = b"") -> list[Array]:
        """Run the model once."""
        if self.limits:
            self.limits.check(list(feeds.values()))
        return self._session.run(feeds, fetches, run_options)

    def close(self) -> None:
        """Free the model."""
        self._session.close()
