"""The original protobufs of TensorFlow Serving, without importing TensorFlow.

``tensorflow_serving.apis`` imports ``tensorflow.core.…_pb2``, and that runs ``tensorflow/__init__.py``: five seconds and
300 MB to get at generated messages. While the messages are imported, an empty package of the same name and search path
stands in its place; afterwards ``import tensorflow`` works as ever.

Some messages are not in the tensorflow-serving-api wheel and are declared here. Three are only ever read from text files
(``config/ssl_config.proto``, ``config/monitoring_config.proto``, ``BatchingParameters`` in
``servables/tensorflow/session_bundle_config.proto``): they have the original field names, while numbers do not matter. The two
of gRPC's health check cross the wire, with one field each.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


@contextlib.contextmanager
def _tensorflow_as_a_bare_package() -> Iterator[None]:
    if "tensorflow" in sys.modules:  # a test has imported the real one: nothing to avoid any more
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("tensorflow is not installed (tests/modelserver/requirements.txt)")
    bare = types.ModuleType("tensorflow")
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with _tensorflow_as_a_bare_package():
    from tensorflow.core.example import example_pb2, feature_pb2  # type: ignore[import-untyped]
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2  # type: ignore[import-untyped]
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2  # type: ignore[import-untyped]
    from tensorflow_serving.apis import (  # type: ignore[import-untyped]
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        model_management_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
        status_pb2,
    )
    from tensorflow_serving.config import (  # type: ignore[import-untyped]
        file_system_storage_path_source_pb2,
        model_server_config_pb2,
    )

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "int32": _Field.TYPE_INT32,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
}


def _declare(file_name: str, messages: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return message classes for ``{message: {field: type}}``; ``*`` marks a repeated field."""
    package = "tensorflow.serving.standin"
    file = descriptor_pb2.FileDescriptorProto(name=file_name, package=package, syntax="proto3")
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for number, (name, kind) in enumerate(fields.items(), start=1):
            label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            kind = kind.rstrip("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


_declared = _declare(
    "tests/modelserver/declared.proto",
    {
        "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
        "PrometheusConfig": {"enable": "bool", "path": "string"},
        "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
        "Int64Value": {"value": "int64"},
        "BoolValue": {"value": "bool"},
        "StringValue": {"value": "string"},
        "HealthCheckRequest": {"service": "string"},
        "HealthCheckResponse": {"status": "int32"},
        "BatchingParameters": {
            "max_batch_size": "Int64Value",
            "batch_timeout_micros": "Int64Value",
            "max_enqueued_batches": "Int64Value",
            "num_batch_threads": "Int64Value",
            "thread_pool_name": "StringValue",
            "allowed_batch_sizes": "int64*",
            "pad_variable_length_inputs": "bool",
            "enable_large_batch_splitting": "BoolValue",
            "max_execution_batch_size": "Int64Value",
        },
    },
)
SSLConfig = _declared["SSLConfig"]
MonitoringConfig = _declared["MonitoringConfig"]
BatchingParameters = _declared["BatchingParameters"]
HealthCheckRequest = _declared["HealthCheckRequest"]
HealthCheckResponse = _declared["HealthCheckResponse"]

__all__ = [
    "BatchingParameters",
    "HealthCheckRequest",
    "HealthCheckResponse",
    "MonitoringConfig",
    "SSLConfig",
    "classification_pb2",
    "config_pb2",
    "example_pb2",
    "feature_pb2",
    "file_system_storage_path_source_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "inference_pb2",
    "input_pb2",
    "meta_graph_pb2",
    "model_management_pb2",
    "model_pb2",
    "model_server_config_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "regression_pb2",
    "saved_model_pb2",
    "status_pb2",
    "tensor_pb2",
    "tensor_shape_pb2",
    "types_pb2",
]
