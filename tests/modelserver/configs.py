"""The model configuration: reading it, and what makes it invalid (model_servers/server_core.cc, util/proto_util.h)."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from tests.modelserver import log, status
from tests.modelserver.protos import model_server_config_pb2

PLATFORM = "tensorflow"  # the only one in the default map (model_servers/platform_config_util.cc)

_M = TypeVar("_M", bound=Message)
_SCHEME = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")


def parse_text_file(path: str, message: _M) -> _M:
    """Fill ``message`` from a text-format file.

    Raises:
        StatusError: The file cannot be opened, has length zero (it is mapped, and nothing cannot be mapped), or does not
            parse; where exactly is only said on stderr.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise status.StatusError(status.Code.INVALID_ARGUMENT, f"{path}; Invalid argument")
            text = file.read()
    except OSError as error:
        raise status.from_os_error(path, error) from error
    try:
        text_format.Parse(text, message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        name = message.DESCRIPTOR.full_name
        sys.stderr.write(f"[libprotobuf ERROR] Error parsing text-format {name}: {error}\n")
        raise status.StatusError(status.Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'") from error
    return message


def single_model(name: str, base_path: str) -> Any:
    """Return the configuration that --model_name and --model_base_path stand for."""
    log.info(
        "configs",
        f"Building single TensorFlow model file config:  model_name: {name} model_base_path: {base_path}",
    )
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def validate_names_and_paths(config: Any) -> None:
    """Refuse duplicate names and relative base paths; nothing else is checked this early."""
    seen: set[str] = set()
    for model in config.model_config_list.config:
        if model.name in seen:
            raise status.invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in config.model_config_list.config:
        if not model.base_path.startswith("/") and not _SCHEME.match(model.base_path):
            raise status.invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )


def validate_platforms_unchanged(old: Any, new: Any) -> None:
    """Refuse a change of platform.

    The platform of every model of the *old* configuration is looked up first. An old one without a platform therefore
    fails every later configuration, whatever that holds: only a restart helps.
    """
    platforms = {model.name: platform_of(model) for model in old.model_config_list.config}
    for model in new.model_config_list.config:
        if model.name in platforms:
            platform = platform_of(model)
            if platform != platforms[model.name]:
                raise status.invalid_argument(
                    f"Illegal to change a model's platform. For model {model.name} platform was "
                    f"{platforms[model.name]} and new platform requested is {platform}"
                )


def validate_platforms_supported(config: Any) -> None:
    """Refuse a platform this server has no loader for."""
    for model in config.model_config_list.config:
        platform = platform_of(model)
        if platform != PLATFORM:
            raise status.invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


def platform_of(model: Any) -> str:
    """Return a model's platform, from ``model_platform`` or the deprecated ``model_type``, of which it takes one."""
    if model.model_type != model_server_config_pb2.MODEL_TYPE_UNSPECIFIED:
        log.warning(
            "configs",
            "Deprecated ModelServerConfig::model_type field used. Prefer ModelServerConfig::model_platform.",
        )
        if model.model_platform:
            raise status.invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise status.invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return PLATFORM
    if not model.model_platform:
        raise status.invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    return str(model.model_platform)


def validate_logging(config: Any) -> None:
    """Refuse request logging: the stock binary has no logger to create (core/server_request_logger.cc)."""
    if any(model.HasField("logging_config") for model in config.model_config_list.config):
        raise status.invalid_argument("No request-logger-creator provided.")
