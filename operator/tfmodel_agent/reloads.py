"""The one reload that may be in flight: what a step asks for, carried to the model server, and its answer, carried back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from tfmodel_agent import history as memory
from tfmodel_agent import modelserver, view
from tfmodel_agent.metrics import Metrics
from tfmodel_serving import model_config

log = logging.getLogger(__name__)


class Reloads:
    """The reloads of one model server.

    Args:
        directory: Returns the path of a version's directory, or None if it isn't known.
    """

    def __init__(
        self,
        server: modelserver.ModelServer,
        links: view.View,
        directory: Callable[[str, int], str | None],
        metrics: Metrics,
    ) -> None:
        self.in_flight: asyncio.Task[None] | None = None
        """Done once it is answered, until :meth:`finish` takes the answer."""
        self._server = server
        self._view = links
        self._directory = directory
        self._metrics = metrics

    def link(self, config: Mapping[str, memory.Served]) -> None:
        """Make the links that the server needs for ``config``."""
        for name, served in config.items():
            for version in served.versions:
                directory = self._directory(name, version)
                if directory is not None:  # one that isn't known serves already, and its link is there
                    self._view.link(name, version, directory)

    def send(self, config: Mapping[str, memory.Served]) -> None:
        """Begin to replace the server's config by ``config``."""
        models = [self._model(name, served) for name, served in config.items()]
        self.in_flight = asyncio.create_task(self._server.reload(models))

    def finish(self, history: memory.History, now: float) -> memory.History:
        """Return ``history`` with what has become of the reload in flight, if it has ended."""
        if self.in_flight is None or not self.in_flight.done():
            return history
        ended, self.in_flight = self.in_flight, None
        try:
            ended.result()
        except modelserver.ReloadRefused as error:
            return self._refused(history, error, now)
        except modelserver.ModelServerUnreachable as error:
            log.warning("Reload was not answered", extra={"error": str(error)})
            self._metrics.reloads.labels("unanswered").inc()
            return (memory.broken if error.has_broken else memory.doubted)(history, now)
        self._metrics.reloads.labels("answered").inc()
        return memory.answered(history, now)

    def close(self) -> None:
        """Wait for no answer any more; the server goes on with the reload."""
        if self.in_flight:
            self.in_flight.cancel()

    def _model(self, name: str, served: memory.Served) -> model_config.Model:
        policy = model_config.Specific(tuple(served.versions))
        return model_config.Model(name, self._view.base_path(name), policy, served.labels)

    def _refused(self, history: memory.History, error: modelserver.ReloadRefused, now: float) -> memory.History:
        log.error("Model server refused the reload", extra={"answer": str(error)})
        self._metrics.reloads.labels("refused").inc()
        history = memory.doubted(history, now)
        return memory.suspected(history, f"it refuses every reload: {error}") if error.poisoned else history
