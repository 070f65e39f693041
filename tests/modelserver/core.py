"""The centre: one configuration at a time, and the way from a request's model spec to a loaded version.

Source: model_servers/server_core.cc.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.modelserver import configs, executors, labels, log, manager, monitor, retrier, serving_map, source, status
from tests.modelserver.flags import Flags
from tests.modelserver.harness import Harness, Loader
from tests.modelserver.monitor import ServableId
from tests.modelserver.protos import model_server_config_pb2
from tests.modelserver.servables import Servables

_INITIAL_LOADS_PER_CPU = 4


class ServerCore:
    """Owns the manager, the source and everything between a configuration and a served model."""

    def __init__(self, flags: Flags, make_loader: Callable[[ServableId, str], Loader], cpus: int) -> None:
        self._flags = flags
        self._config = model_server_config_pb2.ModelServerConfig()
        self._config_mutex = executors.FifoMutex()
        self._source: source.PathSource | None = None
        self._initial_load_threads = _INITIAL_LOADS_PER_CPU * cpus
        self._bus = monitor.EventBus()
        self.states = monitor.StateMonitor(self._bus)
        self._labels = labels.Labels(self.states, flags.allow_version_labels_for_unavailable_models)
        retries = retrier.RetryPolicy(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6)
        self._servables = Servables(
            self._bus,
            retries,
            self._load_threads(flags.num_load_threads),
            executors.create(flags.num_unload_threads, "unload"),
        )
        self._manager = manager.Manager(self._servables, make_loader)
        self._ticker = executors.PeriodicThread(self._manager.tick, manager.TICK_SECONDS, "manage-state")

    @contextlib.contextmanager
    def handle(self, model_spec: Any) -> Iterator[Harness]:
        """Yield the loaded version a request's ModelSpec means; it stays loaded until the block ends.

        Without version and label that is the highest *available* version, a candidate included.
        """
        with self._servables.serving.handle(self._request(model_spec)) as harness:
            yield harness

    def _request(self, model_spec: Any) -> serving_map.ServableRequest:
        if not model_spec.name:
            raise status.StatusError(status.Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        if choice == "version":
            return serving_map.ServableRequest(model_spec.name, model_spec.version.value)
        if choice == "version_label":
            version = self._labels.version(model_spec.name, model_spec.version_label)
            return serving_map.ServableRequest(model_spec.name, version)
        return serving_map.ServableRequest(model_spec.name)

    def reload_config(self, new: Any) -> None:
        """Make ``new`` the configuration: a full replacement. Blocks, for as long as it takes.

        One call at a time, in arrival order; each waits until every model *name* it adds has a settled version. Neither
        a deadline nor the caller's going away ends that wait, and a call given up by its client still runs when its turn
        comes.

        Raises:
            StatusError: Also after the configuration has partly taken effect. From step 5 on, a refused configuration
                *is* the one later calls are compared with.
        """
        with self._config_mutex:
            self._check_transition(new)  # 1
            if new.WhichOneof("config") is None:  # 2
                log.info("core", "Taking no action for empty config.")
                return
            if new.WhichOneof("config") == "custom_model_config":
                log.fatal("core", "ModelServer does not yet support custom model config.")
            configs.validate_names_and_paths(new)  # 3
            configs.validate_platforms_unchanged(self._config, new)  # 4
            self._config.CopyFrom(new)  # 5
            self._labels.update(new)  # 6
            log.info("core", "Adding/updating models.")
            for model in new.model_config_list.config:
                log.info("core", f" (Re-)adding model: {model.name}")
            configs.validate_platforms_supported(new)  # 7
            self._apply(new)  # 8, 9
            log.info("core", "Finished adding/updating models")
            configs.validate_logging(new)  # 10: an error now leaves the models as they have become

    def _check_transition(self, new: Any) -> None:
        kinds = (self._config.WhichOneof("config"), new.WhichOneof("config"))
        if kinds[0] is None or self._config == new or kinds == ("model_config_list", "model_config_list"):
            return
        raise status.StatusError(
            status.Code.FAILED_PRECONDITION,
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another.",
        )

    def _apply(self, new: Any) -> None:
        models = new.model_config_list.config
        if self._source is None:
            self._first_load(models)
            return
        fresh = monitor.StateMonitor(self._bus)
        try:
            added = {model.name for model in models} - self._source.names()
            self._source.update(models)
            failure = monitor.failure_text(fresh.wait_until_settled(added), fresh, "model(s)")
        finally:
            fresh.close()
        if failure:
            raise status.StatusError(status.Code.UNKNOWN, failure)

    def _first_load(self, models: Any) -> None:
        """Load the first models, on a larger pool of load threads (core/load_servables_fast.cc)."""
        first = source.PathSource(self._manager.aspire)
        first.update(models)
        self._servables.set_load_executor(self._load_threads(self._initial_load_threads))
        poller = self._start_polling(first)
        settled = self.states.wait_until_settled(model.name for model in models)
        failure = monitor.failure_text(settled, self.states, "servable(s)")
        self._servables.set_load_executor(self._load_threads(self._flags.num_load_threads))
        if failure:
            if poller:
                poller.stop()
            raise status.StatusError(status.Code.UNKNOWN, failure)
        self._source = first

    def _start_polling(self, first: source.PathSource) -> executors.PeriodicThread | None:
        seconds = self._flags.file_system_poll_wait_seconds
        if seconds == 0:
            first.poll()  # once, ever
        if seconds <= 0:
            return None
        return executors.PeriodicThread(first.poll, seconds, "path-source")

    @staticmethod
    def _load_threads(count: int) -> executors.Executor:
        return executors.create(count, "load")
