"""The `model_config_list`: what a model server serves, as values, as text (`models.config`) and as protobuf.

Source: tensorflow/serving, config/model_server_config.proto.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping

from google.protobuf import text_format

from tfmodel_serving.protos import serving_pb2 as pb

MAX_NAME_CHARACTERS = 63
MODEL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
"""Names that need no escaping in REST paths, file names and labels; the CRD enforces the same pattern."""

CANDIDATE_SUFFIX = "--candidate"
"""A version on trial is served under this private name of its model; users can't choose names of this form."""

NEXT_SUFFIX = "--next"
"""Files in another place than those that serve are tried under this one (:func:`next_name`)."""

MAX_VERSION = 2**63 - 1
MAX_BYTES = 900 * 1024
"""Limit for `models.config`: a ConfigMap holds 1 MiB in all."""
SHORT_CHARACTERS = 4096
"""Of a text that is worth keeping once it is parsed: that of a few models."""


class InvalidModelConfig(ValueError):
    """A model config the model server would refuse, hang on, or be poisoned by; the message says which model and why."""


class ModelConfigTooLarge(InvalidModelConfig):
    """The text exceeds :data:`MAX_BYTES`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Latest:
    """The highest ``num_versions`` versions."""

    num_versions: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class All:
    """Every version."""


@dataclasses.dataclass(frozen=True, slots=True)
class Specific:
    """Exactly these versions."""

    versions: tuple[int, ...]


VersionPolicy = Latest | All | Specific


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """One entry of a `model_config_list`.

    Args:
        base_path: Absolute; its numeric children are the versions.
        version_labels: Label to version.
    """

    name: str
    base_path: str
    version_policy: VersionPolicy = Latest()
    version_labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


def candidate_name(name: str) -> str:
    """Return the private name under which a candidate of model ``name`` is tried."""
    return name + CANDIDATE_SUFFIX


def next_name(name: str) -> str:
    """Return the private name under which model ``name`` is tried with the files of another place; any agent takes it."""
    longest = MAX_NAME_CHARACTERS - len(NEXT_SUFFIX)
    return (name if len(name) <= longest else hashlib.sha256(name.encode()).hexdigest()[:longest]) + NEXT_SUFFIX


def names_of(name: str) -> tuple[str, ...]:
    """Return all names under which model ``name`` may be served, its own first."""
    return name, candidate_name(name), next_name(name)


def is_candidate_name(name: str) -> bool:
    """Tell whether ``name`` is private: no client is sent to it, and no pod's readiness depends on it."""
    return name.endswith(CANDIDATE_SUFFIX)


def to_message(models: Iterable[Model]) -> pb.ModelServerConfig:
    """Return the config message for ``models``, in the order of their names.

    Raises:
        InvalidModelConfig: A model must not be sent to a server.
    """
    ordered = sorted(models, key=lambda model: model.name)
    _check(ordered)
    message = pb.ModelServerConfig()
    message.model_config_list.SetInParent()  # no models is `model_config_list {}`; a blank config is another thing
    for model in ordered:
        entry = message.model_config_list.config.add(
            name=model.name,
            base_path=model.base_path,
            model_platform="tensorflow",  # mandatory: a reload without it poisons the server until it restarts
            version_labels=dict(model.version_labels),
        )
        _set_policy(entry.model_version_policy, model.version_policy)
    return message


def to_text(models: Iterable[Model]) -> str:
    """Return ``models`` in protobuf text format, as `--model_config_file` takes it; equal inputs give equal text.

    The text is parsed again and compared, so that what is published is what was meant.

    Raises:
        InvalidModelConfig: A model must not be sent to a server.
        ModelConfigTooLarge: The text is over :data:`MAX_BYTES`.
    """
    message = to_message(models)
    text = text_format.MessageToString(message) or "model_config_list {\n}\n"
    if _parse(text) != message:
        raise InvalidModelConfig("the model config does not survive being written as text; report this as a bug")
    if len(text.encode()) > MAX_BYTES:
        raise ModelConfigTooLarge(
            f"the model_config_list takes {len(text.encode())} bytes and may take {MAX_BYTES}: serve fewer models on this server"
        )
    return text


def from_text(text: str) -> tuple[Model, ...]:
    """Parse what :func:`to_text` wrote, or a person.

    Raises:
        InvalidModelConfig: Not the text of a `ModelServerConfig`, or a model must not be sent to a server.
    """
    try:
        message = _parse(text)
    except text_format.ParseError as error:
        raise InvalidModelConfig(f"not a ModelServerConfig in text format: {error}") from error
    models = tuple(_from_entry(entry) for entry in message.model_config_list.config)
    _check(models)
    return models


def _parse(text: str) -> pb.ModelServerConfig:
    return _parse_short(text) if len(text) <= SHORT_CHARACTERS else text_format.Parse(text, pb.ModelServerConfig())


@functools.lru_cache(maxsize=2048)  # the parser is plain Python, and the config of each server of its own is read again and again
def _parse_short(text: str) -> pb.ModelServerConfig:
    return text_format.Parse(text, pb.ModelServerConfig())


def _from_entry(entry: pb.ModelConfig) -> Model:
    if entry.model_platform != "tensorflow":
        raise InvalidModelConfig(f'model {entry.name!r}: model_platform must be "tensorflow", not {entry.model_platform!r}')
    match entry.model_version_policy.WhichOneof("policy_choice"):
        case "all":
            policy: VersionPolicy = All()
        case "specific":
            policy = Specific(tuple(entry.model_version_policy.specific.versions))
        case _:
            policy = Latest(max(1, entry.model_version_policy.latest.num_versions))  # the server takes 0 as 1
    return Model(entry.name, entry.base_path, policy, dict(entry.version_labels))


def _set_policy(message: pb.ServableVersionPolicy, policy: VersionPolicy) -> None:
    match policy:
        case Latest(num_versions):
            message.latest.num_versions = num_versions
        case All():
            message.all.SetInParent()
        case Specific(versions):
            message.specific.versions.extend(sorted(set(versions)))


def _check(models: Iterable[Model]) -> None:
    """Refuse what the server exits, hangs or is poisoned on (model_servers/server_core.cc)."""
    names: set[str] = set()
    for model in models:
        if not MODEL_NAME.fullmatch(model.name.removesuffix(CANDIDATE_SUFFIX)):
            raise InvalidModelConfig(f"model {model.name!r}: the name must match {MODEL_NAME.pattern}")
        if model.name in names:
            raise InvalidModelConfig(f"model {model.name!r} is listed twice")
        names.add(model.name)
        if not model.base_path.startswith("/") or ".." in model.base_path.split("/"):
            raise InvalidModelConfig(f"model {model.name!r}: base_path {model.base_path!r} must be absolute, without '..'")
        if isinstance(model.version_policy, Specific):
            if not model.version_policy.versions:
                raise InvalidModelConfig(f"model {model.name!r}: specific without versions unloads everything")
            if not all(1 <= version <= MAX_VERSION for version in model.version_policy.versions):
                raise InvalidModelConfig(f"model {model.name!r}: versions run from 1 to {MAX_VERSION}")
