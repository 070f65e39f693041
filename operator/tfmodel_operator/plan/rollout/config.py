"""What all pods should serve of one model: the unit the planner moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tfmodel_serving import model_config


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """The entries of one model in the `model_config_list`, apart from their base path.

    Args:
        served: Under the model's name; None: no entry. Clients that name no version get the highest AVAILABLE one of these.
        labels: Label to version, of the entry above.
        candidate: Under the private name; None: no entry.
        compare_with: Version whose answers the candidate's are held against in every pod; 0: none.
        watched: Versions that aren't served and whose digests are wanted: a change ends their quarantine.
    """

    served: model_config.VersionPolicy | None = None
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    candidate: model_config.VersionPolicy | None = None
    compare_with: int = 0
    watched: tuple[int, ...] = ()

    @property
    def versions(self) -> frozenset[int]:
        """The versions served to clients, if they are named one by one."""
        return _named(self.served)

    @property
    def on_trial(self) -> frozenset[int]:
        """The versions served under the private name, if they are named one by one."""
        return _named(self.candidate)

    def __str__(self) -> str:
        parts = [_show(self.served) if self.served else "nothing"]
        parts += [f"{label}={version}" for label, version in sorted(self.labels.items())]
        text = " ".join(parts)
        if self.candidate:
            text += f", alone {_show(self.candidate)}"
        return text + (f" against {self.compare_with}" if self.compare_with else "")


def specific(versions: Iterable[int]) -> model_config.Specific | None:
    """Return the policy that names ``versions``, or None for none: an empty `specific` would unload everything."""
    named = tuple(sorted(versions))
    return model_config.Specific(named) if named else None


def models(config: Config, name: str, base_path: str) -> tuple[model_config.Model, ...]:
    """Return the entries of ``config`` for model ``name``."""
    private = model_config.candidate_name(name)
    entries = []
    if config.served:
        entries.append(model_config.Model(name, base_path, config.served, config.labels))
    if config.candidate:
        entries.append(model_config.Model(private, base_path, config.candidate))
    return tuple(entries)


def from_models(entries: Iterable[model_config.Model], name: str, compare_with: int = 0, watched: tuple[int, ...] = ()) -> Config:
    """Return what ``entries`` say of model ``name``: the reverse of :func:`models`."""
    by_name = {entry.name: entry for entry in entries}
    real, private = by_name.get(name), by_name.get(model_config.candidate_name(name))
    return Config(
        served=real.version_policy if real else None,
        labels=dict(real.version_labels) if real else {},
        candidate=private.version_policy if private else None,
        compare_with=compare_with,
        watched=watched,
    )


def _named(policy: model_config.VersionPolicy | None) -> frozenset[int]:
    return frozenset(policy.versions) if isinstance(policy, model_config.Specific) else frozenset()


def _show(policy: model_config.VersionPolicy) -> str:
    match policy:
        case model_config.Specific(versions):
            return "{" + ", ".join(str(version) for version in versions) + "}"
        case model_config.Latest(count):
            return f"latest {count}"
    return "all"
