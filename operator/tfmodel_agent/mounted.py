"""The mounted ConfigMap: `models.config` and `agent.json`, read as one state of both."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from tfmodel_serving import agent_config, model_config

log = logging.getLogger(__name__)


class MountedConfigInvalid(Exception):
    """The mounted files can't be used; the message says which one and why. The last good ones stay in force."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mounted:
    """One usable state of the mounted files.

    Args:
        hash: ``""`` if there has been none.
        texts: Of the two files.
    """

    hash: str
    models: tuple[model_config.Model, ...] = ()
    settings: Mapping[str, agent_config.ModelSettings] = dataclasses.field(default_factory=dict)
    readiness: agent_config.Readiness = agent_config.Readiness.EVERY_MODEL
    texts: tuple[str, str] = ("", "")

    @property
    def named(self) -> frozenset[tuple[str, int]]:
        """Model and version of all versions that are asked for by number."""
        policies = ((model.name, model.version_policy) for model in self.models)
        named = ((name, policy.versions) for name, policy in policies if isinstance(policy, model_config.Specific))
        return frozenset((name, version) for name, versions in named for version in versions)


def mark(directory: Path) -> object:
    """Return a value that changes when the files do; costs a stat of each."""
    marks: list[tuple[int, int, int] | None] = []
    for name in ("models.config", "agent.json"):
        try:
            status = (directory / name).stat()
        except OSError:
            marks.append(None)
        else:
            marks.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return marks


def read(directory: Path) -> Mounted:
    """Read both files. The kubelet swaps the link `..data`, so both are read through one resolved directory.

    Raises:
        MountedConfigInvalid: A file is missing, unreadable or not what it should be.
    """
    data = directory / "..data"
    folder = data.resolve() if data.exists() else directory
    try:
        return _parsed((folder / "models.config").read_text(), (folder / "agent.json").read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise MountedConfigInvalid(f"the mounted config can't be read: {error}") from error


def keep(used: Mounted, path: Path) -> None:
    """Write ``used`` to the file at ``path``, for an agent that is started when the mounted files can't be used."""
    staged = path.with_name(f"{path.name}.new")
    try:
        staged.write_text(json.dumps({"models.config": used.texts[0], "agent.json": used.texts[1]}))
        staged.replace(path)
    except OSError as error:
        log.warning("Mounted config can't be kept", extra={"error": str(error)})


def kept(path: Path) -> Mounted:
    """Return what :func:`keep` wrote last, or a config without a hash: there is none."""
    try:
        document = json.loads(path.read_text())
        return _parsed(document["models.config"], document["agent.json"])
    except FileNotFoundError:
        return Mounted(hash="")
    except (OSError, ValueError, KeyError, TypeError, MountedConfigInvalid) as error:
        log.warning("Config of an earlier agent can't be used", extra={"error": str(error)})
        return Mounted(hash="")


def _parsed(config: str, settings: str) -> Mounted:
    try:
        models = model_config.from_text(config)
        found = agent_config.content_hash(config, settings)
        return Mounted(found, models, agent_config.from_json(settings), agent_config.readiness(settings), (config, settings))
    except model_config.InvalidModelConfig as error:
        raise MountedConfigInvalid(f"models.config: {error}") from error
    except agent_config.InvalidAgentConfig as error:
        raise MountedConfigInvalid(f"agent.json: {error}") from error
