"""What a cluster writes down about itself, so that another process can use it, stop it, or clean up after it."""

from __future__ import annotations

import dataclasses
import json
import signal
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cache import content_hash
from tests.cluster.controlplane import ControlPlane
from tests.cluster.errors import ClusterError, ComponentFailed
from tests.cluster.network import Network
from tests.cluster.process import Process, end, spawn
from tests.cluster.sandbox import Sandbox, recorded_holder

FILE = "state.json"


@dataclass
class Component:
    """One started component. ``process`` is what we started: the component itself, or the nsenter around it."""

    process: Process
    argv: list[str]


@dataclass
class State:
    """The content of ``state.json``."""

    nodes: str | None
    owner: Process
    bound: bool  # it is to end with its owner
    slot: int | None
    plane: ControlPlane
    ready: bool = False  # it was started completely
    components: dict[str, Component] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """The state directory."""
        return self.plane.directory

    @property
    def network(self) -> Network | None:
        """The addresses, for a cluster with a real node."""
        return None if self.slot is None else Network(self.slot, str(self.directory))

    @property
    def cgroup(self) -> str:
        """The cgroup that all pods are under, in every hierarchy; named by the directory, as caches may have clusters of one name."""
        return f"/tfmodel-{self.directory.name}-{content_hash(str(self.directory))[:6]}"

    def sandbox(self) -> Sandbox:
        """Return the namespaces the cluster runs in."""
        return Sandbox(recorded_holder(self.directory), self.slot is not None)

    def processes(self) -> list[Process]:
        """Return all recorded processes, whether they still run or not."""
        holder = recorded_holder(self.directory)
        return [*(each.process for each in self.components.values()), *([holder] if holder else [])]

    def running(self) -> bool:
        """Say whether any process of the cluster still runs."""
        return any(process.alive() for process in self.processes())

    def save(self) -> None:
        """Write it, whole or not at all."""
        unfinished = self.directory / f"{FILE}.new"
        unfinished.write_text(json.dumps(dataclasses.asdict(self), default=str, indent=1))
        unfinished.rename(self.directory / FILE)

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """Read it; None when there is none (or no whole one)."""
        try:
            raw = json.loads((directory / FILE).read_text())
            plane = raw.pop("plane")
            policy = plane.pop("audit_policy")
            components = {name: Component(Process(**each["process"]), each["argv"])
                          for name, each in raw.pop("components").items()}
            plane |= {"directory": directory, "etcd_ports": tuple(plane["etcd_ports"]),
                      "audit_policy": policy and Path(policy)}
            return cls(**raw | {"owner": Process(**raw["owner"]), "plane": ControlPlane(**plane), "components": components})
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Components:
    """The components of one cluster: starting, watching and killing them."""

    def __init__(self, state: State, sandbox: Sandbox) -> None:
        self.state, self.sandbox = state, sandbox

    def log(self, name: str) -> Path:
        """Return where a component's output goes."""
        return self.state.directory / "logs" / f"{name}.log"

    def start(self, name: str, argv: list[str]) -> None:
        """Start a component; its log is appended to."""
        process = spawn(self.sandbox.enter(argv), self.log(name))
        self.state.components[name] = Component(process, argv)
        self.state.save()

    def check(self) -> None:
        """Raise ComponentFailed for the first component that has died."""
        for name, component in self.state.components.items():
            if not component.process.alive():
                raise ComponentFailed(name, "died", self.log(name))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a component as a crash would; ``check`` complains about it until it is restarted."""
        if name not in self.state.components:
            raise ClusterError(f"this cluster has no component {name}; it has {', '.join(self.state.components)}")
        outer = self.state.components[name].process
        inner = outer.children() if self.sandbox.holder else [outer]
        for process in inner:
            process.signal(number)
        if not outer.gone_within(30):
            raise ClusterError(f"{name} did not end within 30 s of signal {number.name}")

    def restart(self, name: str) -> None:
        """Start a component again with the same arguments, after ending it if need be."""
        if name in self.state.components and self.state.components[name].process.alive():
            self.kill(name)
        self.start(name, self.state.components[name].argv)

    def forget(self, name: str) -> None:
        """End a component for good."""
        self.kill(name)
        del self.state.components[name]
        self.state.save()

    def end(self) -> None:
        """End them all, where no holder does it for us."""
        end([each.process for each in self.state.components.values()], grace=3)
