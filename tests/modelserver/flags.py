"""The command line of ``tensorflow_model_server`` (model_servers/main.cc, defaults in model_servers/server.h).

The traps are part of it: a malformed *value* ends the process with 255, but an unknown flag, and every flag written
``--name value``, is only reported and then dropped (TensorFlow's util/command_line_flags.cc).
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from typing import Any


def _schedulable_cpus() -> int:
    return len(os.sched_getaffinity(0))  # like TensorFlow: cpuset counts, a CFS quota does not


@dataclasses.dataclass
class Flags:
    """Every flag of the original with its default. Those no behaviour here depends on are accepted all the same."""

    port: int = 8500
    grpc_socket_path: str = ""
    rest_api_port: int = 0
    rest_api_num_threads: int = dataclasses.field(default_factory=lambda: 4 * _schedulable_cpus())
    rest_api_timeout_in_ms: int = 30000
    rest_api_enable_cors_support: bool = False
    enable_batching: bool = False
    allow_version_labels_for_unavailable_models: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    model_name: str = "default"
    model_base_path: str = ""
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    file_system_poll_wait_seconds: int = 1
    flush_filesystem_caches: bool = True
    tensorflow_session_parallelism: int = 0
    tensorflow_session_config_file: str = ""
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    use_alts_credentials: bool = False
    ssl_config_file: str = ""
    platform_config_file: str = ""
    per_process_gpu_memory_fraction: float = 0.0
    saved_model_tags: str = "serve"
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = dataclasses.field(default_factory=lambda: 4 * _schedulable_cpus())
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    version: bool = False
    monitoring_config_file: str = ""
    remove_unused_fields_from_bundle_metagraph: bool = True
    prefer_tflite_model: bool = False
    num_tflite_pools: int = dataclasses.field(default_factory=_schedulable_cpus)
    num_tflite_interpreters_per_pool: int = 1
    enable_signature_method_name_check: bool = False
    xla_cpu_compilation_enabled: bool = False
    xla_gpu_compilation_enabled: bool = False
    enable_profiler: bool = True
    thread_pool_factory_config_file: str = ""
    mixed_precision: str = ""
    skip_initialize_tpu: bool = False
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False


@dataclasses.dataclass(frozen=True)
class Parsed:
    """The outcome of parsing: ``bad_value`` ends the process, ``unknown`` (the first one) is only reported."""

    flags: Flags
    bad_value: str | None = None
    unknown: str | None = None


def _parse_bool(text: str | None) -> bool:
    if text in (None, "true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError(text)


def _parse_int(text: str | None) -> int:
    if text is None or not re.fullmatch(r"\s*[+-]?[0-9]+", text, re.ASCII):  # sscanf("%d%c") wants exactly one item
        raise ValueError(text)
    return int(text)


def _parse_float(text: str | None) -> float:
    if text is None:
        raise ValueError(text)
    return float(text)


def _parse_str(text: str | None) -> str:
    assert text is not None
    return text


_PARSERS: dict[str, Callable[[str | None], Any]] = {
    "bool": _parse_bool,
    "int": _parse_int,
    "float": _parse_float,
    "str": _parse_str,
}


def parse(arguments: Sequence[str]) -> Parsed:
    """Parse ``arguments`` (without the program's name); see the module's docstring for what goes wrong silently."""
    flags = Flags()
    kinds = {field.name: str(field.type) for field in dataclasses.fields(Flags)}
    unknown: str | None = None
    for position, argument in enumerate(arguments):
        if argument == "--":
            rest = list(arguments[position + 1 :])
            unknown = unknown or (rest[0] if rest else None)
            break
        name, equals, text = argument.removeprefix("--").partition("=")
        kind = kinds.get(name) if argument.startswith("--") else None
        if kind is None or (not equals and kind != "bool"):  # only a bool may stand without a value
            unknown = unknown or argument
            continue
        try:
            setattr(flags, name, _PARSERS[kind](text if equals else None))
        except ValueError:
            return Parsed(flags, bad_value=f"Couldn't interpret value {text} for flag {name}.")
    return Parsed(flags, unknown=unknown)


def usage(program: str) -> str:
    """Return the usage text: one line a flag, with its type and default."""
    lines = [f"usage: {program}", "Flags:"]
    for field in dataclasses.fields(Flags):
        default = getattr(Flags(), field.name)
        shown = str(default).lower() if isinstance(default, bool) else f'"{default}"' if default == "" else default
        lines.append(f"\t--{field.name + '=' + str(shown):<50}\t{field.type}")
    return "\n".join(lines) + "\n"
