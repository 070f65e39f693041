"""The standard gRPC health service (``--enable_grpc_healthcheck_service``), as little as the server makes of it.

It says SERVING from the start and for ever, for three names that are not package-qualified (model_servers/server.cc): an open
port says the same. Source of the messages: grpc/health/v1/health.proto, ``{string service = 1}``, ``{int32 status = 1}``.
"""

from __future__ import annotations

from typing import Any

import grpc

from tests.modelserver.protos import HealthCheckRequest, HealthCheckResponse

_SERVING = 1
_SERVICES = ("", "ModelService", "PredictionService")


def handler() -> grpc.GenericRpcHandler[Any, Any]:
    """Return the handler of ``grpc.health.v1.Health/Check``; ``Watch`` is not offered."""
    check = grpc.unary_unary_rpc_method_handler(_check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


def _check(request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
    if request.service not in _SERVICES:
        context.abort(grpc.StatusCode.NOT_FOUND, "")
    return HealthCheckResponse(status=_SERVING)
