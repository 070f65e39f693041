"""Digests of the versions that are served, one at a time, from a process of the lowest priority."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

from tfmodel_serving import digest, model_config, saved_model

log = logging.getLogger(__name__)

_Key = tuple[str, int]


class Digests:
    """The digests known so far, and those that are still wanted."""

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[object, str, digest.Known]] = {}
        self._wanted: dict[_Key, tuple[model_config.Model, saved_model.Look]] = {}
        self._working: asyncio.Task[None] | None = None

    def get(self, name: str, version: int, fingerprint: object) -> str:
        """Return the digest of a version, or ``""`` while it isn't known for these files."""
        known, value, _ = self._known.get((name, version), (None, "", {}))
        return value if known == fingerprint else ""

    def want(self, model: model_config.Model, looks: Mapping[int, saved_model.Look]) -> None:
        """Have the digests made of those versions of ``model`` that its policy asks for."""
        verified = sorted((v for v, look in looks.items() if look.finding.verdict is saved_model.Verdict.VERIFIED), reverse=True)
        match model.version_policy:
            case model_config.Latest(num_versions):
                verified = verified[:num_versions]
            case model_config.Specific(named):
                verified = [version for version in verified if version in named]
        gone = {key for key in self._known if key[0] == model.name and key[1] not in looks}
        for key in gone:
            del self._known[key]
        for version in verified:
            if not self.get(model.name, version, looks[version].fingerprint):
                self._wanted[model.name, version] = (model, looks[version])
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
            key, (model, look) = self._wanted.popitem()
            _, _, hashes = self._known.get(key, (None, "", {}))
            task = {"base_path": model.base_path, "directory": look.directory, "known": digest.to_dict(hashes)}
            answer = await _run(json.dumps(task).encode())
            if "digest" in answer:
                self._known[key] = (look.fingerprint, answer["digest"], digest.from_dict(answer["known"]))
            else:  # the files have changed, or can't be read: the next look says so
                log.info("No digest", extra={"model": model.name, "version": key[1], "answer": answer.get("message", "")})


async def _run(task: bytes) -> dict[str, Any]:
    """Run one task in a process of its own; an empty answer if that ended without one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tfmodel_serving.digest", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
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
