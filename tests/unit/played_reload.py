"""What the played model servers have in common, that of the agent's simulation and that of the rollouts': reloads, and status."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from tests.modelserver import monitor, source
from tfmodel_agent import history as memory
from tfmodel_serving import model_config
from tfmodel_serving.protos import serving_pb2


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """A HandleReloadConfigRequest that has been taken and not been answered: it waits for one settled version of each new name."""

    fresh: monitor.StateMonitor
    names: frozenset[str]

    def is_answered(self) -> bool:
        """Tell whether it is over now, and then let go of what it waited by."""
        settled = (monitor.State.AVAILABLE, monitor.State.END)
        over = all(any(one.state in settled for one in self.fresh.versions(name)) for name in self.names)
        if over:
            self.fresh.close()
        return over


def begin(bus: monitor.EventBus, known: source.PathSource, models: Sequence[model_config.Model]) -> Reload:
    """Have the source take the config, through the messages that a server gets."""
    message = serving_pb2.ModelServerConfig.FromString(model_config.to_message(models).SerializeToString())
    new = frozenset(model.name for model in models) - known.names()
    fresh = monitor.StateMonitor(bus)
    known.update(message.model_config_list.config)
    return Reload(fresh, new)


def seen(states: monitor.StateMonitor, names: Collection[str]) -> memory.Seen:
    """Return what GetModelStatus says of these models."""
    found = {name: states.versions(name) for name in names}
    return memory.Seen({name: {one.id.version: _version(one) for one in versions} for name, versions in found.items() if versions})


def _version(one: monitor.ServableState) -> memory.ServerVersion:
    code = one.health.code.value if one.health is not None else 0
    return memory.ServerVersion(one.state.name, code, str(one.health or ""))
