"""What is on the volumes: the versions of every model, looked at again and again, without holding up the loop.

Each volume has a thread of its own that looks at the volume's models one after the other; what isn't known yet when the
loop wants to go on is told at one of its next turns. A volume that hangs therefore holds up its own models alone, and
costs one thread. Digests come later still, from a process of low priority (:mod:`tfmodel_serving.digest`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath

from tfmodel_agent import steps, threads
from tfmodel_agent.digests import Digests
from tfmodel_serving import agent_config, model_config, saved_model, versions, warmup

PATIENCE_SECONDS = 0.25
"""How long the loop waits for looks that it has just begun."""
FIRST_LOOK_SECONDS = 1.0
"""How long it waits if some of them are the first at a model, so that the models of a fresh server are told together."""
MOUNT_PARTS = 3
"""Of `/models/CLAIM/some/path`, the parts that name the mount."""
MAX_NEWEST = 10
"""Versions that aren't asked for and get a digest nevertheless, where the newest are watched: each costs reading it once."""
_DEFAULT = agent_config.ModelSettings()

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """The last look at one model's versions."""

    wanted: steps.Wanted
    looks: Mapping[int, saved_model.Look]


def _newest(known: _Known) -> Sequence[int]:
    """Return the newest version, and those that are newer than all the config names: those that failed are among them."""
    policy = known.wanted.model.version_policy
    named = max(policy.versions, default=0) if isinstance(policy, model_config.Specific) else 0
    newest = sorted(known.looks)[-MAX_NEWEST:]
    return [version for version in newest if version > named] or newest[-1:]


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """One look to be made."""

    model: model_config.Model
    before: Mapping[int, saved_model.Look]
    strictness: saved_model.Settings
    rest_seconds: float
    watched: tuple[int, ...]


class Sources:
    """The volumes of all models and what is known of them."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._found: queue.SimpleQueue[_Known] = queue.SimpleQueue()
        self._looking: dict[str, asyncio.Future[None]] = {}
        self._digests = Digests()

    @property
    def looking(self) -> list[asyncio.Future[None]]:
        """The looks that have not ended yet; when one has, there is something to be told."""
        return [looking for looking in self._looking.values() if not looking.done()]

    @property
    def has_news(self) -> bool:
        """Tell whether a look that the loop did not wait for has found something."""
        return not self._found.empty()

    async def look(
        self, models: Sequence[model_config.Model], settings: Mapping[str, agent_config.ModelSettings], rest_seconds: float = 0.0
    ) -> tuple[steps.Wanted, ...]:
        """Look at every model's versions; a model whose look takes longer is told as it was the last time.

        Args:
            rest_seconds: See :func:`tfmodel_serving.saved_model.look`.
        """
        started = self._start(self._task(model, settings.get(model.name, _DEFAULT), rest_seconds) for model in models)
        if started:  # those that were begun earlier have had their time
            is_first = any(model.name not in self._known for model in models)
            await asyncio.wait(started, timeout=FIRST_LOOK_SECONDS if is_first else PATIENCE_SECONDS)
        return self.found(models, settings)

    def found(
        self, models: Sequence[model_config.Model], settings: Mapping[str, agent_config.ModelSettings]
    ) -> tuple[steps.Wanted, ...]:
        """Tell what the looks have found so far."""
        self._take_in({model.name: model.base_path for model in models})
        for name, known in self._known.items():
            asked = settings.get(name, _DEFAULT)
            if asked.digests and not known.wanted.source_message:
                newest = _newest(known) if asked.watches_newest else ()
                self._digests.want(known.wanted.model, known.looks, (*asked.watched, *newest))
        return tuple(self._wanted(model, settings.get(model.name, _DEFAULT).watched) for model in models)

    def directory(self, name: str, version: int) -> str | None:
        """Return the path of a version's directory, or None if it isn't known."""
        known = self._known.get(name)
        if known is None or version not in known.looks:
            return None
        return f"{known.wanted.model.base_path}/{known.looks[version].directory}"

    async def close(self) -> None:
        """Stop making digests; looks end by themselves, or with the process."""
        await self._digests.close()

    def _task(self, model: model_config.Model, settings: agent_config.ModelSettings, rest_seconds: float) -> _Task:
        known = self._known.get(model.name)
        before = known.looks if known is not None and known.wanted.model.base_path == model.base_path else {}
        rules = saved_model.Settings(warmup_rules(settings), is_brief=True, mount=volume(model.base_path))
        return _Task(model, before, rules, rest_seconds, settings.watched)

    def _start(self, tasks: Iterable[_Task]) -> list[asyncio.Future[None]]:
        """Begin to look at every volume that nobody is looking at."""
        for name in [name for name, looking in self._looking.items() if looking.done()]:
            self._looking.pop(name).result()
        of_volume: dict[str, list[_Task]] = {}
        for task in tasks:
            of_volume.setdefault(volume(task.model.base_path), []).append(task)
        free = of_volume.keys() - self._looking.keys()
        started = {name: threads.start(functools.partial(_look_at, of_volume[name], self._found.put)) for name in free}
        self._looking |= started
        return list(started.values())

    def _take_in(self, base_paths: Mapping[str, str]) -> None:
        """Take over what was found at the base paths of the models that there are."""
        while self.has_news:
            found = self._found.get()
            if found.wanted.model.base_path == base_paths.get(found.wanted.model.name):
                self._known[found.wanted.model.name] = found
        self._known = {name: known for name, known in self._known.items() if name in base_paths}

    def _wanted(self, model: model_config.Model, watched: tuple[int, ...]) -> steps.Wanted:
        """Return what is known of ``model``, as its entry in the config is now."""
        known = self._known.get(model.name)
        if known is None or known.wanted.model.base_path != model.base_path:
            message = f"base path {model.base_path} has not been looked at yet: the volume is slow to answer"
            return steps.Wanted(model, source_message=message)
        wanted = known.wanted
        findings = {
            version: dataclasses.replace(finding, digest=self._digests.get(model.name, version, wanted.fingerprints[version]))
            for version, finding in wanted.findings.items()
        }
        return dataclasses.replace(wanted, model=model, findings=findings, watched=frozenset(watched))


def warmup_rules(settings: agent_config.ModelSettings) -> warmup.Rules:
    """Return what is asked of a model's warmup files."""
    return warmup.Rules(warmup.Policy(settings.warmup_policy), settings.min_records, settings.max_batch_size)


def volume(base_path: str) -> str:
    """Return the mount that ``base_path`` is on: the planner mounts claims as `/models/CLAIM`."""
    return str(PurePath(*PurePath(base_path).parts[:MOUNT_PARTS]))


def _look_at(tasks: Iterable[_Task], found: Callable[[_Known], None]) -> None:
    """Make all looks; what an unreadable source held before isn't known any more."""
    for task in tasks:
        try:
            looks = saved_model.look(task.model, task.before, task.strictness, time.monotonic(), task.rest_seconds, task.watched)
        except versions.SourceUnavailable as error:
            found(_Known(steps.Wanted(task.model, source_message=str(error)), task.before))
            continue
        except Exception as error:  # a fault of ours with one model's files must not end the agent of all models
            log.exception("Files can't be judged", extra={"model": task.model.name})
            message = f"the files below {task.model.base_path} can't be judged, by a fault of the agent: {error!r}"
            found(_Known(steps.Wanted(task.model, source_message=message), task.before))
            continue
        findings = {version: look.finding for version, look in looks.items()}
        fingerprints = {version: look.fingerprint for version, look in looks.items()}
        found(_Known(steps.Wanted(task.model, findings, fingerprints), looks))
