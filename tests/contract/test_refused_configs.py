"""Configurations the server refuses, and which of them it never gets over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.client import Model, stays
from tests.contract.server import Server, Start

pytestmark = pytest.mark.contract

HARMLESS: dict[str, tuple[Callable[[Model], list[Model]], str]] = {
    "relative path": (
        lambda good: [good, Model("other", "models/other")],
        "Expected model other to have an absolute path or URI; got base_path()=models/other",
    ),
    "empty path": (
        lambda good: [good, Model("other", "")],
        "Expected model other to have an absolute path or URI; got base_path()=",
    ),
    "duplicate name": (
        lambda good: [good, good],
        "Illegal to list model good multiple times in config list",
    ),
    "type and platform of a known name": (
        lambda good: [Model("good", good.base_path, model_type=1)],
        "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, "
        "model name is good",
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_refused_and_forgotten(server: Server, case: str) -> None:
    """model_servers/server_core.cc; measured: INVALID_ARGUMENT, and the next good configuration is taken at once."""
    good = server.model("good")
    models, message = HARMLESS[case]
    server.client.reload(good)
    refused = server.client.reload(*models(good))
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.details == message
    assert server.client.reload(good).code == "OK"
    assert server.client.predict("good").code == "OK"


def test_logging_config_is_refused_after_the_models_were_changed(server: Server) -> None:
    """core/server_request_logger.cc; measured: INVALID_ARGUMENT, the model keeps serving, the next reload is fine."""
    good, logged = server.model(), server.model(logging=True)
    refused = server.client.reload(good, logged)
    assert (refused.code, refused.details) == ("INVALID_ARGUMENT", "No request-logger-creator provided.")
    assert server.client.predict(logged.name).code == "OK"
    assert server.client.reload(good).code == "OK"


def test_a_model_without_platform_poisons_every_later_reload(start: Start) -> None:
    """model_servers/server_core.cc: the refused configuration is the one later ones are compared with. Measured."""
    server = start()
    good, bare = server.model(), server.model("bare", platform="")
    server.client.reload(good)
    message = (
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
        "model name is bare"
    )
    for models in ([good, bare], [good], [], [good, server.model("bare")]):
        refused = server.client.reload(*models)
        assert (refused.code, refused.details) == ("INVALID_ARGUMENT", message)
    stays(lambda: server.client.predict(good.name).code, "OK", 1.5)


def test_a_wrong_platform_can_be_corrected_only_by_leaving_the_name_out(server: Server) -> None:
    """model_servers/server_core.cc; measured."""
    wrong, right = server.model("moving", platform="pytorch"), server.model("moving")
    refused = server.client.reload(wrong)
    assert (refused.code, refused.details) == (
        "INVALID_ARGUMENT",
        "Model moving requests unsupported platform pytorch",
    )
    refused = server.client.reload(right)
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.details == (
        "Illegal to change a model's platform. For model moving platform was pytorch and new platform requested is tensorflow"
    )
    refused = server.client.reload(right)
    assert refused.code == "INVALID_ARGUMENT"
    assert server.client.reload().code == "OK"
    assert server.client.reload(right).code == "OK"
    assert server.client.predict("moving").code == "OK"
