"""GetModelStatus, as protobuf and as JSON (model_servers/get_model_status_impl.cc)."""

from __future__ import annotations

from typing import Any

from tests.modelserver import monitor, status
from tests.modelserver.protos import get_model_status_pb2, status_pb2


def states(request: Any, known: monitor.StateMonitor) -> list[monitor.ServableState]:
    """Return the states a request asks for: one version's, or all versions' of the model, highest first.

    A version *label* is ignored: all versions are returned, even for a label that does not exist.
    """
    if not request.HasField("model_spec"):
        raise status.StatusError(status.Code.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    if spec.HasField("version"):
        state = known.state(monitor.ServableId(spec.name, spec.version.value))
        if state is None:
            raise status.StatusError(status.Code.NOT_FOUND, f"Could not find version {spec.version.value} of model {spec.name}")
        return [state]
    found = known.versions(spec.name)
    if not found:
        raise status.StatusError(status.Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
    return found


def to_json(found: list[monitor.ServableState]) -> list[dict[str, Any]]:
    """Return the states as the REST API's members."""
    return [
        {
            "version": str(state.id.version),
            "state": state.state.name,
            "status": {
                "error_code": state.health.code.name if state.health else "OK",
                "error_message": state.health.message if state.health else "",
            },
        }
        for state in found
    ]


def to_wire(found: list[monitor.ServableState]) -> bytes:
    """Return a serialised GetModelStatusResponse.

    ``error_message`` is a proto3 ``string``, but the C++ server puts any bytes there and sends them; a strict client then
    cannot parse the response. Python's protobuf refuses to *build* such a message, so the one field is appended by hand:
    concatenating serialised fields is what protobuf merging is defined by.
    """
    response = b""
    for state in found:
        health = status_pb2.StatusProto()
        message = b""
        if state.health:
            health.error_code = state.health.code
            message = status.to_bytes(state.health.message)
        raw_health = health.SerializeToString()
        if message:
            raw_health += _length_delimited(health, "error_message", message)
        entry = get_model_status_pb2.ModelVersionStatus(version=state.id.version, state=int(state.state))
        raw_entry = entry.SerializeToString() + _length_delimited(entry, "status", raw_health)
        response += _length_delimited(get_model_status_pb2.GetModelStatusResponse, "model_version_status", raw_entry)
    return response


def _length_delimited(message: Any, field: str, content: bytes) -> bytes:
    tag = message.DESCRIPTOR.fields_by_name[field].number << 3 | 2
    return _varint(tag) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
