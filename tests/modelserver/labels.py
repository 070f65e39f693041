"""Version labels: names for version numbers, private to one server (UpdateModelVersionLabelMap in server_core.cc)."""

from __future__ import annotations

import threading
from typing import Any

from tests.modelserver import status
from tests.modelserver.monitor import ServableId, State, StateMonitor


class Labels:
    """The label map in force.

    Args:
        allow_unavailable: ``--allow_version_labels_for_unavailable_models``: a label that is new, or stays where it is, may
            point to any version. *Moving* a label needs an available target all the same.
    """

    def __init__(self, monitor: StateMonitor, allow_unavailable: bool) -> None:
        self._monitor = monitor
        self._allow_unavailable = allow_unavailable
        self._lock = threading.Lock()
        self._versions: dict[str, dict[str, int]] = {}

    def version(self, model: str, label: str) -> int:
        """Return the version a label stands for, loaded or not."""
        version = self._get(model, label)
        if version is None:
            raise status.StatusError(status.Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return version

    def update(self, config: Any) -> None:
        """Replace all labels by those of ``config``, or change nothing.

        This runs before any model of ``config`` is added, so a label can never come with its new version unless labels on
        unavailable versions are allowed.
        """
        new: dict[str, dict[str, int]] = {}
        for model in config.model_config_list.config:
            for label, version in model.version_labels.items():
                self._check(model.name, label, version)
                new.setdefault(model.name, {})[label] = version
        with self._lock:
            self._versions = new

    def _get(self, model: str, label: str) -> int | None:
        with self._lock:
            return self._versions.get(model, {}).get(label)

    def _check(self, model: str, label: str, version: int) -> None:
        if self._allow_unavailable and self._get(model, label) in (None, version):
            return
        state = self._monitor.state(ServableId(model, version))
        if state is None or state.state is not State.AVAILABLE:
            raise status.StatusError(
                status.Code.FAILED_PRECONDITION,
                f"Request to assign label to version {version} of model {model}, which is not currently available for inference",
            )
