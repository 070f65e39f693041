"""What spec must keep to, once more in code: the schema refuses the same at admission, but an older one may not have.

The rules are those of `x-kubernetes-validations` in `crds/`; tests hold the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tfmodel_operator.api import labels, quantities, server_spec

NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
PATH = re.compile(r"[A-Za-z0-9._/@+=,-]*")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
IMAGE = re.compile(
    r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[a-z0-9]+:[0-9a-f]{32,128})?"
)
RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
FRACTION = re.compile(r"0?[.][0-9]*[1-9][0-9]*|1([.]0+)?")

BOOLEAN_FLAGS = frozenset(
    {
        "enable_serialization_as_tensor_content",
        "enable_signature_method_name_check",
        "flush_filesystem_caches",
        "prefer_tflite_model",
        "remove_unused_fields_from_bundle_metagraph",
        "rest_api_enable_cors_support",
        "skip_initialize_tpu",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    }
)
NUMBER_FLAGS = frozenset({"num_request_iterations_for_warmup", "num_tflite_interpreters_per_pool", "num_tflite_pools"})
"""Flags for extraArgs. A value that doesn't parse would keep the server from starting."""
OWN_ENV = frozenset({"CUDA_CACHE_PATH", "TF_FORCE_GPU_ALLOW_GROWTH"})

Spec = Mapping[str, Any]


class InvalidSpec(ValueError):
    """A spec that can't be acted on although the API server let it in; the message says what to change."""


def check(name: str, spec: Spec) -> None:
    """Return if ``spec``, of a TFModel called ``name``, keeps all rules.

    Raises:
        InvalidSpec: It breaks one; the message says which, and what to change.
    """
    for rule in MODEL_RULES if is_joined(spec) else (*MODEL_RULES, *SERVER_RULES):
        for broken in rule(name, spec):
            raise InvalidSpec(broken)


def check_server(name: str, spec: Spec) -> None:
    """Return if ``spec``, of a TFModelServer called ``name``, keeps all rules.

    Raises:
        InvalidSpec: As :func:`check`.
    """
    if not NAME.fullmatch(name):
        raise InvalidSpec(f"{name!r} is no name for a TFModelServer: use at most 52 lower case letters, digits and '-'")
    for rule in SERVER_RULES:
        for broken in rule(name, {"server": spec}):
            raise InvalidSpec(broken.replace("spec.server", "spec"))


def is_joined(spec: Any) -> bool:
    """Tell whether a TFModel asks for a shared server."""
    return isinstance(spec, Mapping) and ("serverRef" in spec or "serverSelector" in spec)


def _names(name: str, spec: Spec) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield "metadata.name: use at most 52 lower case letters, digits and '-', starting with a letter and not ending with '-'"
    model_name = spec.get("modelName", name)
    if not MODEL_NAME.fullmatch(model_name) or "--" in model_name:
        yield "spec.modelName: use at most 63 letters, digits and . _ -, and no '--', which marks names of our own"


def _path(_: str, spec: Spec) -> Iterator[str]:
    where = "spec.source.persistentVolumeClaim.path"
    path = spec["source"]["persistentVolumeClaim"].get("path", "")
    if path.startswith("/"):
        yield f"{where} is relative to the claim's root; leave out the leading '/'"
    if ".." in path.split("/"):
        yield f"{where} must stay on the claim; write it without '..'"
    if not PATH.fullmatch(path):
        yield f"{where} may hold letters, digits and . _ / @ + = , -"


def _version_labels(_: str, spec: Spec) -> Iterator[str]:
    wanted = spec.get("versionLabels", {})
    for label in wanted:
        if not LABEL.fullmatch(label):
            yield f"spec.versionLabels: {label!r} may hold letters, digits and . _ -, and begins and ends with a letter or digit"
    specific = spec.get("versionPolicy", {}).get("specific")
    for label, version in wanted.items():
        if specific is not None and version not in specific["versions"]:
            yield f"spec.versionLabels: {label} names version {version}, which versionPolicy.specific lacks; add it there"


def _warmup(_: str, spec: Spec) -> Iterator[str]:
    if spec["warmup"]["minRecords"] and spec["warmup"]["policy"] != "Required":
        yield "spec.warmup: minRecords counts only where warm-up is wanted; set policy to Required, or leave minRecords out"


def _server(spec: Spec) -> Spec:
    found: Spec = spec.get("server", server_spec.EMPTY)
    return found


def _sharing(_: str, spec: Spec) -> Iterator[str]:
    given = [field for field in ("server", "serverRef", "serverSelector") if field in spec]
    if len(given) > 1:
        yield f"spec: give only one of {' and '.join(given)}"
    if is_joined(spec) and spec["warmup"]["policy"] == "Ignore":
        yield "spec.warmup: policy Ignore would switch off the warm-up of all models of a shared server; use IfPresent"
    if "memory" in spec and not is_joined(spec):
        yield "spec.memory counts only on a shared server; leave it out, or give serverRef or serverSelector"
    if is_joined(spec) and spec.get("rollout", {}).get("strategy") in {"RollingUpdate", "Recreate"}:
        yield "spec.rollout.strategy: on a shared server versions change in the pods that are there; choose InPlace or Auto"


def _comparison(_: str, spec: Spec) -> Iterator[str]:
    rollout = spec.get("rollout", {})
    required = rollout.get("comparison", {}).get("policy") == "Require"
    if required and rollout.get("strategy") in {"RollingUpdate", "Recreate"}:
        fix = "choose strategy InPlace or Auto, or comparison.policy Report"
        yield f"spec.rollout: comparison.policy Require needs both versions in one model server; {fix}"


def _image(_: str, spec: Spec) -> Iterator[str]:
    if not IMAGE.fullmatch(_server(spec).get("image", "default")):
        yield "spec.server.image must be an image reference in lower case such as registry/name:tag or registry/name@sha256:…"


def _accelerator(_: str, spec: Spec) -> Iterator[str]:
    accelerator = _server(spec).get("accelerator")
    if accelerator is None:
        return
    where = "spec.server.accelerator"
    resource = accelerator["resource"]
    if not RESOURCE.fullmatch(resource) or re.match(r"([^/]*[.])?kubernetes[.]io/", resource):
        yield f"{where}.resource must be an extended resource of the form domain/name, such as nvidia.com/gpu"
    if not FRACTION.fullmatch(accelerator.get("memoryFraction", "1")):
        yield f'{where}.memoryFraction must be a decimal above 0 and up to 1, in quotes, such as "0.45"'
    if any(resource in given for given in _server(spec).get("resources", {}).values()):
        yield "spec.server: the accelerator is in resources as well; leave it out there, accelerator.count says how many"


def _quantities(_: str, spec: Spec) -> Iterator[str]:
    server = _server(spec)
    given = {"resources": server.get("resources", {}), "agent.resources": server["agent"]["resources"]}
    for where, resources in given.items():
        for field, named in resources.items():
            for name, quantity in named.items():
                try:
                    quantities.parse(quantity)
                except ValueError as error:
                    yield f"spec.server.{where}.{field}.{name}: {error}"


def _batching(_: str, spec: Spec) -> Iterator[str]:
    batching = _server(spec).get("batching", {})
    sizes = batching.get("allowedBatchSizes")
    if sizes is None:
        return
    if sizes != sorted(set(sizes)):
        yield "spec.server.batching: write allowedBatchSizes in rising order, each size once"
    if not sizes or sizes[-1] != batching["maxBatchSize"]:
        yield "spec.server.batching: the last of allowedBatchSizes must be maxBatchSize, or no version loads"


def _drain(_: str, spec: Spec) -> Iterator[str]:
    age = _server(spec)["grpc"].get("maxConnectionAgeSeconds", 0)
    if age * 10 >= _server(spec)["drainSeconds"] * 9:
        yield "spec.server: grpc.maxConnectionAgeSeconds must be less than nine tenths of drainSeconds; raise drainSeconds"


def _extra_args(_: str, spec: Spec) -> Iterator[str]:
    seen = set()
    for argument in _server(spec).get("extraArgs", ()):
        flag, _equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not _flag_allowed(flag, value):
            yield f"spec.server.extraArgs: {argument!r} is not allowed; see kubectl explain tfmodel.spec.server.extraArgs"
        if flag in seen:
            yield f"spec.server.extraArgs: give --{flag} once"
        seen.add(flag)


def _flag_allowed(flag: str, value: str) -> bool:
    if flag in BOOLEAN_FLAGS:
        return value in {"true", "false"}
    if flag in NUMBER_FLAGS:
        return re.fullmatch(r"[1-9][0-9]{0,4}", value) is not None
    return (flag, value) == ("mixed_precision", "bfloat16")


def _reserved(_: str, spec: Spec) -> Iterator[str]:
    server = _server(spec)
    pod = server.get("pod", {})
    given: dict[str, Iterable[str]] = {
        "pod.labels": pod.get("labels", {}),
        "pod.annotations": pod.get("annotations", {}),
        "service.annotations": server["service"].get("annotations", {}),
    }
    for where, keys in given.items():
        for key in filter(labels.reserved, keys):
            yield f"spec.server.{where}: {key} is this operator's; choose another key"
    for variable in pod.get("env", ()):
        if variable["name"] in OWN_ENV:
            yield f"spec.server.pod.env: {variable['name']} is set by this operator; leave it out"


Rule = Callable[[str, Spec], Iterator[str]]

MODEL_RULES: tuple[Rule, ...] = (_names, _path, _version_labels, _warmup, _comparison, _sharing)
SERVER_RULES: tuple[Rule, ...] = (
    _image,
    _accelerator,
    _quantities,
    _batching,
    _drain,
    _extra_args,
    _reserved,
)
