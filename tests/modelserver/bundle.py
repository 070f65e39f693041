"""A loaded SavedModel and its signatures (servables/tensorflow/saved_model_bundle_factory.cc)."""

# os.path answers as access(2) does, where pathlib raises for what may not be looked at:
# ruff: noqa: PTH110
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tests.modelserver import status, tensorflow_c
from tests.modelserver.batching import BatchLimits
from tests.modelserver.protos import meta_graph_pb2
from tests.modelserver.tensorflow_c import Array

_GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")


class Bundle:
    """One version of a model in memory.

    Attributes:
        limits: What the batching session in front of the model refuses, if batching is on.
    """

    def __init__(self, path: str, tags: Sequence[str], config: bytes) -> None:
        if not any(os.path.exists(os.path.join(path, name)) for name in _GRAPH_FILES):
            raise status.StatusError(  # asked before TensorFlow is (session_bundle/oss/session_bundle_util.cc)
                status.Code.NOT_FOUND,
                "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
                f"`{_GRAPH_FILES[0]}`)\nSpecified file path: {path}",
            )
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
