"""Our protos are the originals on the wire and as text; `tensorflow_serving` is only ever imported here."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from tfmodel_serving import model_config
from tfmodel_serving.protos import serving_pb2 as ours

MODELS = [
    model_config.Model("a", "/models/a", model_config.Latest(3)),
    model_config.Model("b", "/models/b/x", model_config.All()),
    model_config.Model("c", "/models/c", model_config.Specific((1, 2**63 - 1)), {"stable": 1, "next": 2**63 - 1}),
]


@pytest.fixture(scope="module")
def originals():
    from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2
    from tensorflow_serving.config import model_server_config_pb2

    return get_model_status_pb2, model_management_pb2, model_server_config_pb2


def test_a_reload_is_the_original_request(originals):
    _, management, _ = originals
    request = ours.ReloadConfigRequest(config=model_config.to_message(MODELS))
    original = management.ReloadConfigRequest.FromString(request.SerializeToString(deterministic=True))
    assert [config.name for config in original.config.model_config_list.config] == ["a", "b", "c"]
    first, second, third = original.config.model_config_list.config
    assert first.model_version_policy.latest.num_versions == 3
    assert second.model_version_policy.HasField("all")
    assert list(third.model_version_policy.specific.versions) == [1, 2**63 - 1]
    assert dict(third.version_labels) == {"stable": 1, "next": 2**63 - 1}
    assert {config.model_platform for config in (first, second, third)} == {"tensorflow"}
    assert original.SerializeToString(deterministic=True) == request.SerializeToString(deterministic=True)


def test_models_config_is_the_original_text(originals):
    _, _, server_config = originals
    text = model_config.to_text(MODELS)
    assert text_format.MessageToString(text_format.Parse(text, server_config.ModelServerConfig())) == text


def test_an_empty_config_is_an_empty_list_and_not_no_config(originals):
    _, _, server_config = originals
    parsed = text_format.Parse(model_config.to_text([]), server_config.ModelServerConfig())
    assert parsed.WhichOneof("config") == "model_config_list"


def test_a_status_answer_is_read_whole_even_if_its_text_is_not_utf8(originals):
    status, _, _ = originals
    answer = status.GetModelStatusResponse()
    for version, state in ((1, "AVAILABLE"), (2, "END")):
        answer.model_version_status.add(version=version, state=status.ModelVersionStatus.State.Value(state))
    answer.model_version_status[1].status.error_code = 3
    answer.model_version_status[1].status.error_message = "Failed to parse warmup record: XX"
    raw = answer.SerializeToString().replace(b"XX", b"\xff\xfe")
    read = ours.GetModelStatusResponse.FromString(raw)
    assert [found.version for found in read.model_version_status] == [1, 2]
    assert [ours.ModelVersionStatus.State.Name(found.state) for found in read.model_version_status] == ["AVAILABLE", "END"]
    assert read.model_version_status[1].status.error_code == 3
    assert read.model_version_status[1].status.error_message.endswith(b"\xff\xfe")
