"""What a request means, whichever way it came: model spec to loaded version, and back.

Sources: model_servers/prediction_service_impl.cc, model_servers/model_service_impl.cc,
servables/tensorflow/get_model_metadata_impl.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.modelserver import examples, inference, log, metrics, status
from tests.modelserver.bundle import Bundle
from tests.modelserver.core import ServerCore
from tests.modelserver.protos import get_model_metadata_pb2, model_management_pb2

_SIGNATURES = "signature_def"

Run = Callable[[Bundle, int | None, Any, bytes], Any]


def run(core: ServerCore, method: Run, request: Any, run_options: bytes = b"") -> Any:
    """Run ``method`` (such as :func:`inference.predict`) on the version the request names."""
    with core.handle(request.model_spec) as harness:
        return method(_bundle(harness), harness.id.version, request, run_options)


def run_multi_inference(core: ServerCore, request: Any, run_options: bytes = b"") -> Any:
    """Run a MultiInferenceRequest on the version its first task names."""
    if not request.tasks:
        raise status.invalid_argument("Inference request must have at least one task.")
    with core.handle(request.tasks[0].model_spec) as harness:
        return examples.multi_inference(_bundle(harness), harness.id.version, request, run_options)


def _bundle(harness: Any) -> Bundle:
    bundle = harness.loader.servable
    assert isinstance(bundle, Bundle)
    return bundle


def inputs_of(core: ServerCore, model_spec: Any, signature_name: str) -> Any:
    """Return the inputs of a signature; the REST API needs them to know what JSON numbers are."""
    with core.handle(model_spec) as harness:
        name = signature_name or inference.DEFAULT_SIGNATURE
        signature = _bundle(harness).signatures.get(name)
        if signature is None:
            raise status.invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        return signature.inputs


def metadata(core: ServerCore, request: Any) -> Any:
    """Return GetModelMetadataResponse; it needs a loaded version, which makes it the honest readiness check."""
    if not request.HasField("model_spec"):
        raise status.invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise status.invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURES:
            raise status.invalid_argument(f"Metadata field {field} is not supported")
    with core.handle(request.model_spec) as harness:
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in _bundle(harness).signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = harness.id
        response.metadata[_SIGNATURES].Pack(signatures)
        return response


def reload_config(core: ServerCore, request: Any) -> Any:
    """Apply a HandleReloadConfigRequest; the response also carries how much the named metrics grew meanwhile."""
    before = metrics.values(request.metric_names)
    if request.config.WhichOneof("config") != "model_config_list":
        raise _logged(
            status.invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
            )
        )
    for index, model in enumerate(request.config.model_config_list.config):
        log.info(
            "services",
            f"\nConfig entry\n\tindex : {index}\n\tpath : {model.base_path}\n\tname : {model.name}"
            f"\n\tplatform : {model.model_platform}",
        )
    try:
        core.reload_config(request.config)
    except status.StatusError as failure:
        raise _logged(failure) from failure
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    for name, value in metrics.values(request.metric_names).items():
        response.metric.add(name=name, int64_value_increase=value - before[name])
    return response


def _logged(failure: status.StatusError) -> status.StatusError:
    log.error("services", f"ReloadConfig failed: {failure.message}")
    return failure
