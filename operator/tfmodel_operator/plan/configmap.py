"""The ConfigMap of one server: what its agents should make it serve, and how far the rollout of each model is.

It is put together from *shares*, one of each model on the server.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import labels, server_spec, spec
from tfmodel_operator.plan import metadata
from tfmodel_operator.plan.rollout import config as configs
from tfmodel_operator.plan.rollout import facts, record
from tfmodel_serving import agent_config, model_config

MOUNT = "/etc/tfmodel"
ROOT = "models"
"""The directory that claims are mounted in."""
EMPTY = "model_config_list {\n}\n"
"""What model servers boot with: no model can then keep one from starting. A zero-length file would."""
MONITORING = 'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n'
BOOT = {"boot.config": EMPTY, "monitoring.config": MONITORING}

MAX_RECORDS_BYTES = 150_000
"""Of the 256 KiB that all annotations of an object may take (kubernetes, apimachinery/pkg/api/validation/objectmeta.go)."""
SHORTER = ((record.MAX_QUARANTINED, 60), (3, 60), (0, 0))
"""How much is kept of each model's quarantine where the records take more: entries, and characters of their messages."""

Manifest = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """What one model contributes.

    Args:
        entries: Its entries in the `model_config_list`: under its own name, and a candidate's under the private one.
        settings: By the name of the entry.
    """

    entries: tuple[model_config.Model, ...]
    settings: Mapping[str, agent_config.ModelSettings]

    def with_(self, other: Share) -> Share:
        """Return both as one."""
        return Share((*self.entries, *other.entries), {**self.settings, **other.settings})


def share(
    model: spec.TFModel, config: configs.Config, server: server_spec.Server | None = None, *, is_fixed: bool = False
) -> Share:
    """Return what ``model`` contributes while its pods should serve ``config``.

    Args:
        server: Where it is served; None: on its own.
        is_fixed: For a ConfigMap for one content alone, which can't come to name a version that failed since.
    """
    entries = configs.models(config, model.model_name, base_path(model))
    common = dataclasses.replace(settings(model, server or model.server), watched=config.watched, watches_newest=is_fixed)
    promoted = agent_config.Promoted(model.model_name, config.compare_with) if config.compare_with else None
    private = dataclasses.replace(common, compare_with=promoted)
    return Share(entries, {entry.name: private if model_config.is_candidate_name(entry.name) else common for entry in entries})


def tried(model: spec.TFModel, server: server_spec.Server) -> Share:
    """Return what has the files in the place that spec names loaded under a private name, while others serve."""
    name, policy = model_config.next_name(model.model_name), model.version_policy
    newest = policy if isinstance(policy, model_config.Specific) else model_config.Latest()
    return Share((model_config.Model(name, base_path(model), newest),), {name: settings(model, server)})


def data(shares: Iterable[Share], readiness: agent_config.Readiness = agent_config.Readiness.EVERY_MODEL) -> dict[str, str]:
    """Return the files.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: They can't be written as a `model_config_list`.
    """
    shares = tuple(shares)
    known = {name: found for one in shares for name, found in one.settings.items()}
    return {
        "models.config": model_config.to_text([entry for one in shares for entry in one.entries]),
        "agent.json": agent_config.to_json(known, readiness),
        **BOOT,
    }


def configmap(
    host: spec.Host, files: Mapping[str, str], records: Mapping[str, record.Record], annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the ConfigMap whose content changes while pods have it mounted, for the servers of ``host``.

    Args:
        records: By model.
        annotations: Further ones.
    """
    rollouts = {labels.ROLLOUTS: text} if (text := _records(records)) else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.child(host, metadata.config_name(host), {**rollouts, **(annotations or {})}),
        "data": dict(files),
    }


def _records(records: Mapping[str, record.Record]) -> str:
    """Return the records as one text, shortened if need be: an object with more annotations than the API server takes is refused,
    and then all models of a server would stand still for what is remembered of some.
    """
    text = _text_of(records)
    for entries, characters in SHORTER:
        if len(text) <= MAX_RECORDS_BYTES:
            break
        text = _text_of({name: record.shortened(found, entries, characters) for name, found in records.items()})
    return text


def _text_of(records: Mapping[str, record.Record]) -> str:
    kept = {name: json.loads(text) for name, found in records.items() if (text := record.to_text(found))}
    return json.dumps(kept, sort_keys=True) if kept else ""


def fixed(model: spec.TFModel, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the ConfigMap for this content alone: other content is for other pods."""
    name = metadata.fixed_config_name(model, content_hash(files))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.child(model, name),
        "immutable": True,
        "data": dict(files),
    }


def record_of(found: Manifest | None, name: str) -> str:
    """Return the text of the record of model ``name`` that ConfigMap ``found`` carries; ``""``: none that can be read."""
    text = ((found or {}).get("metadata", {}).get("annotations") or {}).get(labels.ROLLOUTS, "")
    return _records_in(text).get(name, "")


@functools.lru_cache(maxsize=64)  # as below: a shared server's has the records of all its models
def _records_in(text: str) -> Mapping[str, str]:
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: json.dumps(found) for name, found in kept.items()} if isinstance(kept, dict) else {}


@dataclasses.dataclass(frozen=True)
class Content:
    """What a ConfigMap says.

    Args:
        hash: What agents report once they have read it.
        fixed: It is for this content alone.
    """

    entries: tuple[model_config.Model, ...]
    settings: Mapping[str, agent_config.ModelSettings]
    hash: str
    fixed: bool

    @functools.cached_property
    def _by_name(self) -> Mapping[str, model_config.Model]:
        return {entry.name: entry for entry in self.entries}

    def entries_of(self, *names: str) -> tuple[model_config.Model, ...]:
        """Return the entries of these names that are there."""
        return tuple(self._by_name[name] for name in names if name in self._by_name)


def read(found: Manifest | None) -> Content | None:
    """Return what ConfigMap ``found`` says; None: there is none, or somebody has spoilt it."""
    files = (found or {}).get("data") or {}
    if not files.keys() >= {"models.config", "agent.json"}:
        return None
    is_short = len(files["models.config"]) <= model_config.SHORT_CHARACTERS
    parse = _of_own_server if is_short else _of_shared_server
    return parse(files["models.config"], files["agent.json"], fixed=bool((found or {}).get("immutable")))


def _parse(models_config: str, agent_json: str, *, fixed: bool) -> Content | None:
    try:
        entries, known = model_config.from_text(models_config), agent_config.from_json(agent_json)
    except (model_config.InvalidModelConfig, agent_config.InvalidAgentConfig):
        return None
    return Content(entries, known, agent_config.content_hash(models_config, agent_json), fixed)


# A pass reads the same text at several places, and parsing it is most of what a look costs. Many small ones are kept, as they
# come by turns, and a few large ones, which take a megabyte each.
_of_own_server = functools.lru_cache(maxsize=2048)(_parse)
_of_shared_server = functools.lru_cache(maxsize=64)(_parse)


def published(content: Content | None, name: str) -> facts.Published | None:
    """Return what is published of model ``name``."""
    if content is None:
        return None
    private = content.settings.get(model_config.candidate_name(name), agent_config.ModelSettings())
    watched = content.settings.get(name, private).watched
    compare_with = private.compare_with.version if private.compare_with else 0
    entries = content.entries_of(name, model_config.candidate_name(name))
    config = configs.from_models(entries, name, compare_with, watched)
    return facts.Published(config, content.hash, content.fixed)


def published_source(content: Content | None, name: str) -> spec.Claim | None:
    """Return where the published files of model ``name`` are; None: nothing is, or nothing of ours."""
    entries = content.entries_of(name, model_config.candidate_name(name)) if content is not None else ()
    paths = [entry.base_path for entry in entries]
    root, _, rest = paths[0].removeprefix("/").partition("/") if paths else ("", "", "")
    claim, _, path = rest.partition("/")
    return spec.Claim(claim, path) if root == ROOT and claim else None


def share_of(content: Content, name: str) -> Share:
    """Return what model ``name`` has in a ConfigMap."""
    names = model_config.names_of(name)
    return Share(content.entries_of(*names), {known: content.settings[known] for known in names if known in content.settings})


def settings(model: spec.TFModel, server: server_spec.Server) -> agent_config.ModelSettings:
    """Return what the agents must know about ``model`` beside its `model_config_list` entry.

    Args:
        server: Where it is served.
    """
    batching = server.batching
    return agent_config.ModelSettings(
        source=str(model.source),
        warmup_policy=str(model.warmup.policy),
        min_records=model.warmup.min_records,
        max_batch_size=batching.max_batch_size if batching else 0,
    )


def content_hash(files: Mapping[str, str]) -> str:
    """Return the hash that agents report once they have read these files."""
    return agent_config.content_hash(files["models.config"], files["agent.json"])


def mount_path(claim: str) -> str:
    """Return where the claim of this name is mounted in the pods."""
    return f"/{ROOT}/{claim}"


def base_path(model: spec.TFModel) -> str:
    """Return the directory with the version directories, as the pods see it."""
    return f"{mount_path(model.source.claim_name)}/{model.source.path}".rstrip("/")
