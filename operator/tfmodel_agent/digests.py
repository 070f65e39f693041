"""Digests of the versions that are served, one at a time, from a process of the lowest priority."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
import time
from collections.abc import Collection, Mapping
from typing import Any

from tfmodel_serving import digest, model_config, saved_model

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""How long a version whose files can't be hashed is left alone; changed files are hashed at once."""

_Key = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """A digest, or the failure to make one, of the files ``fingerprint`` stands for."""

    fingerprint: object
    value: str = ""
    hashes: digest.Known = dataclasses.field(default_factory=dict)
    retry_at: float = 0.0


class Digests:
    """The digests known so far, and those that are still wanted."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Known] = {}
        self._wanted: dict[_Key, tuple[model_config.Model, saved_model.Look]] = {}
        self._current: tuple[_Key, object] | None = None
        self._working: asyncio.Task[None] | None = None

    def get(self, name: str, version: int, fingerprint: object) -> str:
        """Return the digest of a version, or ``""`` while it isn't known for these files."""
        known = self._known.get((name, version))
        return known.value if known is not None and known.fingerprint == fingerprint else ""

    def want(self, model: model_config.Model, looks: Mapping[int, saved_model.Look], watched: Collection[int] = ()) -> None:
        """Have the digests made of those versions of ``model`` that its policy asks for, and of those that are watched."""
        every = sorted((v for v, look in looks.items() if look.finding.verdict is saved_model.Verdict.VERIFIED), reverse=True)
        verified = every
        match model.version_policy:
            case model_config.Latest(num_versions):
                verified = every[:num_versions]
            case model_config.Specific(named):
                verified = [version for version in every if version in named]
        verified += [version for version in every if version in watched and version not in verified]
        for key in [key for key in self._known if key[0] == model.name and key[1] not in looks]:
            del self._known[key]
        now = time.monotonic()
        for version in verified:
            key, fingerprint = (model.name, version), looks[version].fingerprint
            known = self._known.get(key)
            is_settled = known is not None and known.fingerprint == fingerprint and (known.value or now < known.retry_at)
            if not is_settled and self._current != (key, fingerprint):
                self._wanted[key] = (model, looks[version])
        if self._wanted and (self._working is None or self._working.done()):
            self._working = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop the process, if there is one."""
        if self._working is not None:
            self._working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._working

    async def _work(self) -> None:
        while self._wanted:
            key = next(iter(self._wanted))
            model, look = self._wanted.pop(key)
            self._current = (key, look.fingerprint)
            try:
                self._known[key] = await self._make(key, model, look)
            finally:
                self._current = None

    async def _make(self, key: _Key, model: model_config.Model, look: saved_model.Look) -> _Known:
        before = self._known.get(key)
        hashes = before.hashes if before else {}
        if look.listing is None:  # of what can't be listed nothing is verified, and nothing is to be hashed
            return _Known(look.fingerprint, retry_at=time.monotonic() + RETRY_SECONDS)
        listing = look.listing
        task = {"base_path": listing.volume, "directory": listing.directory, "known": digest.to_dict(hashes)}
        answer = await _run(json.dumps(task).encode())
        made = digest.from_dict(answer.get("known", {}))
        listed = {name: file.identity for name, file in listing.files.items()}
        if "digest" in answer and {name: identity for name, (identity, _) in made.items()} == listed:
            return _Known(look.fingerprint, answer["digest"], made)
        message = answer.get("message", "its files have changed")  # then the next look says so, and they are hashed again
        log.info("No digest", extra={"model": model.name, "version": key[1], "answer": message})
        return _Known(look.fingerprint, "", made or hashes, time.monotonic() + RETRY_SECONDS)


async def _run(task: bytes) -> dict[str, Any]:
    """Run one task in a process of its own; an answer without digest says why there is none."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tfmodel_serving.digest", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:  # of memory or processes there are none left
        return {"message": f"no process can be started: {error.strerror}"}
    try:
        output, _ = await process.communicate(task)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return {"message": f"the process ended with {process.returncode}"}
    answer: dict[str, Any] = json.loads(output)
    return answer
