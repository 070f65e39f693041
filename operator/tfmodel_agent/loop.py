"""The loop: read the mounted files, look at the volume and the server, take the next safe step, publish the state.

All decisions are in :mod:`tfmodel_agent.steps`; this module only carries facts in and effects out.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping
from typing import Any

from tfmodel_agent import (
    comparisons,
    failures,
    inotify,
    journal,
    looks,
    modelserver,
    mounted,
    news,
    readiness,
    reloads,
    sources,
    steps,
    view,
)
from tfmodel_agent import history as memory
from tfmodel_agent.drain import Drain
from tfmodel_agent.metrics import Metrics
from tfmodel_agent.report import report
from tfmodel_agent.settings import Settings
from tfmodel_serving.state import AgentState

IDLE_SECONDS = 1.4
REST_SECONDS = 10.0
"""Pause between two looks at the files of a version at rest, while nothing is to be done."""
SERVER_LOOK_SECONDS = 5.0
"""Pause between two looks at a server that nothing is wanted of. A lost connection, or anything to do, ends it."""
BUSY_SECONDS = 300.0
"""How long a server that is too busy to answer is taken to serve what it did: load must not become an outage."""
MOVING_SECONDS = 0.2
SOURCE_LOOK_SECONDS = 1.0
"""Pause between two looks at a volume: a version is verified when its files are equal in two looks."""

log = logging.getLogger(__name__)


class Agent:
    """One agent and what it remembers; :attr:`state` is always the truth of the last look."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = AgentState(settings.pod_uid, config_hash="", ready=False, settled=False, step="starting")
        self.suspect = ""
        self.drain = Drain(settings.client_ports, settings.drain_seconds)
        self.metrics = Metrics(lambda: self.state)
        self._changed = asyncio.Event()
        self._server = modelserver.ModelServer(settings.server)
        self._kept = settings.view / ".mounted.json"
        self._mounted = mounted.kept(self._kept)
        self._journal = journal.Journal(settings.view / ".journal.json")
        self._history = self._journal.read(time.monotonic())
        self._sources = sources.Sources()
        links, directory = view.View(settings.view), self._sources.directory
        self._reloads = reloads.Reloads(self._server, links, directory, self.metrics)
        self._comparisons = comparisons.Comparisons(settings.server, directory)
        self._wanted: tuple[steps.Wanted, ...] = ()
        self._mounted_mark: object = None
        self._config_message = ""
        self._is_config_new = self._files_moved = False
        self._looked_at = self._server_looked_at = self._seen_at = float("-inf")
        self._seen = memory.Seen()

    async def run(self) -> None:
        """Work until cancelled."""
        watch = inotify.Watch(self.settings.config)
        try:
            while True:
                watch.changed.clear()
                with self.metrics.look_seconds.time():
                    await self._once()
                await self._pause(self._pause_seconds(), watch)
        finally:
            watch.close()
            self._reloads.close()
            await self._comparisons.close()
            await self._sources.close()
            await self._server.close()

    def _pause_seconds(self) -> float:
        if not self.state.settled:
            return MOVING_SECONDS
        return SOURCE_LOOK_SECONDS if self._files_moved else IDLE_SECONDS

    async def _pause(self, seconds: float, watch: inotify.Watch) -> None:
        """Wait for the next look; changed files in the mount, a late finding, an answered reload or a comparison end it."""
        waits = [asyncio.create_task(event.wait()) for event in (watch.changed, self._comparisons.news)]
        reload = [self._reloads.in_flight] if self._reloads.in_flight else []
        ends: list[asyncio.Future[Any]] = [*waits, *self._sources.looking, *reload]
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def wait_for_change(self, seconds: float) -> None:
        """Return when the state changes, or after ``seconds``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    async def _once(self) -> None:
        before = (self._wanted, self._config_message)
        self._read_mounted()
        await self._look_at_sources()
        if before != (self._wanted, self._config_message) or not self._at_rest():
            await self._look_at_server()

    async def _look_at_sources(self) -> None:
        models, settings, before = self._mounted.models, self._mounted.settings, self._wanted
        if self._is_config_new or time.monotonic() - self._looked_at >= SOURCE_LOOK_SECONDS:
            # Whatever may be pushed soon has been looked at just before.
            rest_seconds = REST_SECONDS if self.state.settled and not self._is_config_new else 0.0
            self._wanted = await self._sources.look(models, settings, rest_seconds)
            self._is_config_new, self._looked_at = False, time.monotonic()
        elif self._sources.has_news:
            self._wanted = self._sources.found(models, settings)
        self._files_moved = self._wanted != before

    def _at_rest(self) -> bool:
        """Tell whether the last look at the server still stands; each costs one call per model."""
        recent = time.monotonic() - self._server_looked_at < SERVER_LOOK_SECONDS
        is_quiet = self._reloads.in_flight is None and not self._comparisons.news.is_set()
        return self.state.settled and recent and self._server.connected and is_quiet

    async def _look_at_server(self) -> None:
        self._server_looked_at = time.monotonic()
        self._history = self._reloads.finish(self._history, time.monotonic())
        seen = await self._server.look({model.name for model in self._mounted.models} | self._history.names)
        now = time.monotonic()
        if seen.reachable:
            self._seen, self._seen_at = seen, now
        fingerprints = {(one.model.name, version): mark for one in self._wanted for version, mark in one.fingerprints.items()}
        before, self._history = self._history, looks.fold(self._history, seen, fingerprints, now)
        self._tell_changes(before)
        if self._mounted.hash:
            is_fed = readiness.is_fed(self._wanted, seen, self._history, now, self._mounted.readiness)
            self._history = dataclasses.replace(self._history, is_fed=is_fed)
        step = self._next_step(seen, now)
        step = self._take(step, fingerprints, now)
        self._journal.write(self._history)
        self.suspect = step.suspect
        # By what was seen just now: a server that is too busy to tell its status gets no requests from us either.
        asked = {} if self.drain.active else comparisons.wishes(self._wanted, self._mounted.settings, seen)
        self._comparisons.want(asked)
        if seen.is_busy and now - self._seen_at < BUSY_SECONDS:
            seen = dataclasses.replace(seen, models=self._seen.models)
        self._publish(seen, step, now)

    def _next_step(self, seen: memory.Seen, now: float) -> steps.Step:
        if not self._mounted.hash:  # nothing is known of what should be served; to want nothing is another thing
            return steps.Step("waiting for a config that can be used")
        return steps.next_step(self._wanted, seen, self._history, now)

    def _read_mounted(self) -> None:
        """Take over the mounted files if they have changed and can be used; the last usable ones stay in force."""
        mark = mounted.mark(self.settings.config)
        if mark == self._mounted_mark:
            return
        self._mounted_mark = mark
        try:
            found = mounted.read(self.settings.config)
        except mounted.MountedConfigInvalid as error:
            self._config_message = str(error)
            return
        self._config_message = ""
        if found != self._mounted:
            log.info("Mounted config changed", extra={"hash": found.hash, "models": [model.name for model in found.models]})
            if self._mounted.hash:  # what an earlier agent was asked for isn't known: nothing is new then
                self._history = memory.asked_anew(self._history, found.named - self._mounted.named)
            self._mounted = found
            self._is_config_new = True
            mounted.keep(found, self._kept)

    def _tell_changes(self, before: memory.History) -> None:
        if before.pushed is not None and self._history.pushed is None and not before.orphaned:
            log.warning("Model server has another config than it was given; somebody else may reload it")
            self.metrics.drifts.inc()
        for (name, version), crash in self._history.crashes.items():
            if before.crashes.get((name, version)) != crash:
                found = {"model": name, "version": version, "alone": crash.alone, "others": crash.others}
                log.error("Model server died while it was loading a version", extra=found)

    def _take(self, step: steps.Step, fingerprints: Mapping[failures.Key, object], now: float) -> steps.Step:
        """Take ``step``; return it, or what keeps us from it."""
        if step.suspect and not self._history.suspect:
            log.error("Model server is suspect and must be restarted", extra={"reason": step.suspect})
            self._history = memory.suspected(self._history, step.suspect)
        if step.push is None:
            return step
        try:
            self._reloads.link(step.push)
        except OSError as error:  # a disk that is full, say: what serves goes on
            return steps.Step(f"waiting for room for a link in {self.settings.view}: {error}")
        log.info("Reloading the model server", extra={"change": step.reason})
        self._history = memory.sent(self._history, step.push, now, fingerprints)
        self._journal.write(self._history)  # before the server hears of it, which may be the last thing it does
        self._reloads.send(step.push)
        return step

    def _publish(self, seen: memory.Seen, step: steps.Step, now: float) -> None:
        config = self._mounted
        state = report(
            self.settings.pod_uid,
            config.hash,
            self._config_message,
            self._wanted,
            seen,
            self._history,
            step,
            now,
            self._comparisons.states(),
            config.readiness,
        )
        if state.step != self.state.step and step.push is None:
            log.info("Next step", extra={"step": state.step})
        if state != self.state:
            for one in news.between(self.state, state):
                log.log(one.level, one.message, extra=one.fields)
            self.state = state
            self._changed.set()
            self._changed = asyncio.Event()
