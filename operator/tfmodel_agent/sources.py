"""What is on the volumes: the versions of every model, looked at again and again, without holding up the loop.

Listing a volume and verifying a large new version happen in threads; what isn't known yet when the loop wants to go on is
told at one of its next turns. Digests come later still, from a process of low priority (:mod:`tfmodel_serving.digest`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable, Mapping

from tfmodel_agent import steps
from tfmodel_agent.digests import Digests
from tfmodel_serving import agent_config, model_config, saved_model, versions, warmup

PATIENCE_SECONDS = 0.25
"""How long the loop waits for looks that take their time."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """The last look at one model's volume."""

    wanted: steps.Wanted
    looks: Mapping[int, saved_model.Look]


class Sources:
    """The volumes of all models and what is known of them."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._looking: dict[str, asyncio.Task[_Known]] = {}
        self._digests = Digests()

    async def look(
        self, models: Iterable[model_config.Model], settings: Mapping[str, agent_config.ModelSettings]
    ) -> tuple[steps.Wanted, ...]:
        """Look at every model's versions; a model whose look takes longer is told as it was the last time."""
        models = tuple(models)
        for model in models:
            if model.name not in self._looking:
                look = self._look(model, settings.get(model.name, agent_config.ModelSettings()))
                self._looking[model.name] = asyncio.create_task(look)
        unknown = [self._looking[model.name] for model in models if model.name not in self._known]
        if unknown:  # the first look lists files only
            await asyncio.wait(unknown)
        if self._looking:
            await asyncio.wait(self._looking.values(), timeout=PATIENCE_SECONDS)
        for name, task in list(self._looking.items()):
            if task.done():
                self._known[name] = task.result()
                del self._looking[name]
        self._known = {model.name: self._known[model.name] for model in models}
        return tuple(self._wanted(model) for model in models)

    def directory(self, name: str, version: int) -> str | None:
        """Return the path of a version's directory, or None if it isn't known."""
        known = self._known.get(name)
        if known is None or version not in known.looks:
            return None
        return f"{known.wanted.model.base_path}/{known.looks[version].directory}"

    async def close(self) -> None:
        """Stop looking."""
        for task in self._looking.values():
            task.cancel()
        await self._digests.close()

    async def _look(self, model: model_config.Model, settings: agent_config.ModelSettings) -> _Known:
        """Judge the versions of one model; what an unreadable source held before isn't known any more."""
        before = self._known[model.name].looks if model.name in self._known else {}
        strictness = saved_model.Settings(warmup_rules(settings))
        try:
            looks = await asyncio.to_thread(saved_model.look, model, before, strictness, time.monotonic())
        except versions.SourceUnavailable as error:
            return _Known(steps.Wanted(model, source_message=str(error)), before)
        if settings.digests:
            self._digests.want(model, looks)
        findings = {version: look.finding for version, look in looks.items()}
        return _Known(steps.Wanted(model, findings, {v: look.fingerprint for v, look in looks.items()}), looks)

    def _wanted(self, model: model_config.Model) -> steps.Wanted:
        """Return what is known of ``model``, as its entry in the config is now."""
        wanted = self._known[model.name].wanted
        if wanted.model.base_path != model.base_path:
            return steps.Wanted(model, source_message="its new base path has not been looked at yet")
        findings = {
            version: dataclasses.replace(finding, digest=self._digests.get(model.name, version, wanted.fingerprints[version]))
            for version, finding in wanted.findings.items()
        }
        return dataclasses.replace(wanted, model=model, findings=findings)


def warmup_rules(settings: agent_config.ModelSettings) -> warmup.Rules:
    """Return what is asked of a model's warmup files."""
    return warmup.Rules(warmup.Policy(settings.warmup_policy), settings.min_records, settings.max_batch_size)
