"""One pod: an agent whose decisions, memory and report are the real ones, a model server, and what the kubelet makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from tests.unit.operator.rollout.simulation.modelserver import Died, ModelServer
from tests.unit.operator.rollout.simulation.volume import Files, Mount
from tfmodel_agent import history as memory
from tfmodel_agent import journal, looks, readiness, report, steps
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import facts
from tfmodel_serving import agent_config, model_config, saved_model, state

LOOK_SECONDS = 0.2
IDLE_SECONDS = 1.0
PROBE_FAILURES_SECONDS = 15.0
START_SECONDS = 0.6
HASH_SECONDS = 1.0
BACKOFF_SECONDS = (0.3, 10.0, 20.0, 40.0)
CRASH_MEMORY_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class ConfigMap:
    """What is mounted: the model's config, and the hash of the files."""

    config: configs.Config
    hash: str
    immutable: bool = False


class Pod:
    """One pod of the Deployment.

    Args:
        template: Of the Deployment, and the name of the ConfigMap that it mounts.
    """

    def __init__(self, name: str, template: tuple[str, str], model: str, mount: Mount, clock: Callable[[], float]) -> None:
        self.name, self.template, self.model, self.mount, self._clock = name, template, model, mount, clock
        self.pending = self.ready = False
        self.muted_until = 0.0
        self.report: state.AgentState | None = None
        self.mounted = ConfigMap(configs.Config(), "")
        self.mail: list[tuple[float, ConfigMap]] = []
        self.links: set[tuple[str, int]] = set()
        self.server: ModelServer | None = None
        self.server_at = self.agent_at = clock() + START_SECONDS
        self.crashes: list[float] = []
        self.on_push: Callable[[str], None] = lambda _: None
        self.faults = 0
        self.agent = True
        self._unready_since: float | None = None
        self._started = False  # has it been ready since its server started
        self._first_seen: dict[int, tuple[Files, float]] = {}
        self._next_look = clock()
        self._highest: tuple[int, float] = (0, 0.0)
        self._harmless = -1
        self._forget()

    # What happens to it.

    def deliver(self, what: ConfigMap, at: float) -> None:
        """The kubelet brings ``what`` at that time, and nothing older after it."""
        self.mail = [(time, mail) for time, mail in self.mail if time < at]
        self.mail.append((at, what))

    def crash(self) -> None:
        """The model server ends by itself."""
        now = self._clock()
        self.server, self.ready = None, False  # to the kubelet a container that doesn't run isn't ready
        recent = [time for time in self.crashes if now - time < CRASH_MEMORY_SECONDS]
        self.server_at = now + BACKOFF_SECONDS[min(len(recent), len(BACKOFF_SECONDS) - 1)]
        self.crashes = [*recent, now]
        self._next_look = now
        self.faults += 1

    def restart_agent(self) -> None:
        """The agent knows what its journal says; a reload it had in flight goes on in the server."""
        self.history, self._asked = journal.from_json(journal.to_json(self.history), self._clock()), None

    def _forget(self) -> None:
        self.history = memory.History(began_at=self._clock())
        self._asked: ModelServer | None = None

    # What others see.

    @property
    def muted(self) -> bool:
        """Its agent can't be reached."""
        return self._clock() < self.muted_until

    def facts(self, template: tuple[str, str] | None) -> facts.Pod:
        in_backoff = self.server is None and len(self.crashes) > 1
        crash = f"CrashLoopBackOff: restarted {len(self.crashes)} times" if in_backoff else ""
        crashed_at = self.crashes[-1] if self.crashes else None
        said = None if self.muted or self.pending else self.report
        current, apart = template in {None, self.template}, template is not None and template[1] != self.template[1]
        return facts.Pod(self.name, self.ready, current, said, crash, crashed_at, apart)

    def serves(self, name: str) -> dict[int, Files]:
        return self.server.available(name) if self.server else {}

    # What it does.

    def tick(self) -> None:
        if self.pending:
            return
        now = self._clock()
        while self.mail and self.mail[0][0] <= now:
            self._mount(self.mail.pop(0)[1])
        if self.server is None and now >= self.server_at:
            self.server, self._started = ModelServer(self.mount, self._clock, self.links), False
            self._harmless, self._next_look = -1, now
        if self.server is not None:
            self._run_server()
        if self.agent and now >= max(self._next_look, self.agent_at):
            self._look(now)
            self._probe(now)
            at_rest = self.report is not None and self.report.settled and self._seen_for > HASH_SECONDS
            self._next_look = now + (IDLE_SECONDS if at_rest else LOOK_SECONDS)

    @property
    def _seen_for(self) -> float:
        """Seconds since a file was last seen to change."""
        return self._clock() - max((at for _, at in self._first_seen.values()), default=0.0)

    def _mount(self, what: ConfigMap) -> None:
        self._next_look = self._clock()
        before, self.mounted = self.mounted, what
        if before.hash:
            self.history = memory.asked_anew(self.history, _named(what, self.model) - _named(before, self.model))

    def _run_server(self) -> None:
        assert self.server is not None
        try:
            self.server.tick()
        except Died:
            self.crash()
        else:
            self._die_of_traffic()

    def _die_of_traffic(self) -> None:
        assert self.server is not None
        if self._harmless == self.server.events:
            return
        served = self.serves(self.model)
        if not any(files.deadly for files in served.values()):
            self._harmless = self.server.events
        highest = max(served, default=0)
        if highest != self._highest[0]:
            self._highest = (highest, self._clock())
        if highest and served[highest].deadly and self.ready and self._clock() - self._highest[1] > 2.0:
            self.crash()
            self._highest, self._harmless = (0, 0.0), -1

    def _wanted(self, now: float) -> list[steps.Wanted]:
        seen = self.mount.at(now)
        for version, files in seen.items():
            if version not in self._first_seen or self._first_seen[version][0] != files:
                self._first_seen[version] = (files, now)
        hashed = {version for version, files in seen.items() if now - self._first_seen[version][1] > HASH_SECONDS}
        findings = {
            version: files.finding(version in hashed) if now > self._first_seen[version][1] else _ONE_LOOK
            for version, files in seen.items()
        }
        marks = {version: files.content for version, files in seen.items()}
        entries = configs.models(self.mounted.config, self.model, "/models/it")
        watched = frozenset(self.mounted.config.watched)
        return [steps.Wanted(entry, findings, marks, watched=watched) for entry in entries]

    def _look(self, now: float) -> None:
        wanted = self._wanted(now)
        marks = {(one.model.name, v): mark for one in wanted for v, mark in one.fingerprints.items()}
        if self._asked is not None and (self.server is not self._asked or not self._asked.busy):
            done = memory.answered if self.server is self._asked else memory.broken
            self.history, self._asked = done(self.history, now), None
        names = {one.model.name for one in wanted} | self.history.names
        seen = self.server.look(names) if self.server is not None else memory.Seen(message="UNAVAILABLE")
        self.history = looks.fold(self.history, seen, marks, now)
        if self.mounted.hash:
            is_fed = readiness.is_fed(wanted, seen, self.history, now, agent_config.Readiness.EVERY_MODEL)
            self.history = dataclasses.replace(self.history, is_fed=is_fed)
        step = steps.next_step(wanted, seen, self.history, now)
        if step.suspect and not self.history.suspect:
            self.history = memory.suspected(self.history, step.suspect)
        said = report.report(self.name, self.mounted.hash, "", wanted, seen, self.history, step, now, {})
        self.report = dataclasses.replace(said, models=tuple(self._compared(model) for model in said.models))
        if step.push is not None and self.server is not None and not self.server.busy:
            self._push(step.push, marks, now)

    def _push(self, push: Mapping[str, memory.Served], marks: Mapping[tuple[str, int], object], now: float) -> None:
        for name, served in push.items():
            assert served.versions, f"{name}: `specific` without versions unloads everything"
            available = self.server.available(name) if self.server else {}
            assert set(served.labels.values()) <= set(available), f"{name}: {served.labels} among {sorted(available)}"
            self.links |= {(name, version) for version in served.versions}
        self.history = memory.sent(self.history, push, now, marks)
        assert self.server is not None
        self._asked = self.server
        self.on_push(f"{self.name} pushes {push}")
        self.server.reload(
            model_config.Model(name, f"/view/{name}", model_config.Specific(tuple(served.versions)), served.labels)
            for name, served in push.items()
        )

    def _compared(self, model: state.ModelState) -> state.ModelState:
        """The agent's side of comparisons: an answer once both versions are AVAILABLE."""
        against, private = self.mounted.config.compare_with, model_config.is_candidate_name(model.name)
        candidates = self.serves(model.name) if private else {}
        if not against or not candidates or against not in self.serves(self.model):
            return model
        version = max(candidates)
        output = state.OutputDifference("y", candidates[version].difference, candidates[version].difference)
        latency = state.Latency(0.002, 0.004)
        return dataclasses.replace(model, comparison=state.Comparison(version, against, 12, (output,), latency, latency))

    def _probe(self, now: float) -> None:
        """The kubelet: ready at the first good answer, unready after many bad ones."""
        assert self.report is not None
        if self.report.ready:
            self.ready = self._started = True
            self._unready_since = None
        elif self.server is None and not self.crashes:
            self.ready = False
        else:
            self._unready_since = self._unready_since if self._unready_since is not None else now
            self.ready = self.ready and now - self._unready_since < PROBE_FAILURES_SECONDS


_ONE_LOOK = saved_model.Finding(saved_model.Verdict.INCOMPLETE, "files have been looked at once")


def _named(what: ConfigMap, model: str) -> set[tuple[str, int]]:
    private = model_config.candidate_name(model)
    return {(model, version) for version in what.config.versions} | {(private, version) for version in what.config.on_trial}
