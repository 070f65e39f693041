"""Version labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.client import Model, eventually
from tests.contract.server import Server, Start, base_path

pytestmark = pytest.mark.contract

UNAVAILABLE = "Request to assign label to version {} of model {}, which is not currently available for inference"


def test_without_the_flag_a_label_cannot_come_with_its_model(start: Start) -> None:
    """model_servers/server_core.cc checks labels before it adds models. Measured: refused, nothing applied."""
    server = start()
    model = server.model("l", labels={"stable": 1})
    refused = server.client.reload(model)
    assert (refused.code, refused.details) == ("FAILED_PRECONDITION", UNAVAILABLE.format(1, "l"))
    assert server.client.status("l").code == "NOT_FOUND"
    assert server.client.reload(Model("l", model.base_path)).code == "OK"
    assert server.client.reload(model).code == "OK"
    assert server.client.predict("l", label="stable").value == (2.5, 1)


def test_with_the_flag_a_new_label_may_point_anywhere(server: Server) -> None:
    """Measured: usable at once; one that points to an unloaded version answers NOT_FOUND."""
    model = server.model("anywhere", labels={"stable": 1, "next": 2})
    assert server.client.reload(model).code == "OK"
    assert server.client.predict("anywhere", label="stable").value == (2.5, 1)
    missing = server.client.predict("anywhere", label="next")
    assert (missing.code, missing.details) == ("NOT_FOUND", "Servable not found for request: Specific(anywhere, 2)")
    assert server.client.reload(model).code == "OK"  # unchanged labels may stay where they are


def test_a_label_in_use_moves_only_to_an_available_version(server: Server) -> None:
    """Measured, with the flag on: refused, the old target keeps the label, later reloads are fine."""
    path = server.base_path(_1="half_plus_two", _2="half_plus_three")
    server.client.reload(Model("moves", path, (1,), labels={"stable": 1}))
    refused = server.client.reload(Model("moves", path, (1,), labels={"stable": 2}))
    assert (refused.code, refused.details) == ("FAILED_PRECONDITION", UNAVAILABLE.format(2, "moves"))
    assert server.client.predict("moves", label="stable").value == (2.5, 1)
    assert server.client.reload(Model("moves", path, (1, 2), labels={"stable": 1})).code == "OK"
    eventually(lambda: server.client.states("moves"), {1: "AVAILABLE", 2: "AVAILABLE"})
    # Moving the label and retiring the old version may share a push.
    assert server.client.reload(Model("moves", path, (2,), labels={"stable": 2})).code == "OK"
    assert server.client.predict("moves", label="stable").value == (3.5, 2)
    eventually(lambda: server.client.states("moves"), {1: "END", 2: "AVAILABLE"})


def test_unknown_labels(server: Server) -> None:
    """Measured: Predict and metadata refuse them; the status, over REST as over gRPC, ignores labels."""
    model = server.model("labelled", labels={"stable": 1})
    server.client.reload(model)
    unknown = server.client.predict("labelled", label="zz")
    assert (unknown.code, unknown.details) == ("INVALID_ARGUMENT", "Unrecognized servable version label: zz")
    predicted = server.client.rest("/v1/models/labelled/labels/zz:predict", {"instances": [1.0]})
    assert predicted == (400, {"error": "Unrecognized servable version label: zz"})
    code, status = server.client.rest("/v1/models/labelled/labels/zz")
    assert (code, [entry["version"] for entry in status["model_version_status"]]) == (200, ["1"])
    assert server.client.rest("/v1/models/labelled/labels/stable/metadata")[0] == 200
    assert server.client.rest("/v1/models/labelled/labels/zz/metadata")[0] == 400
    assert server.client.rest("/v1/models/labelled/labels/stable:predict", {"instances": [1.0]})[0] == 200


def test_a_label_in_the_boot_file_without_the_flag_ends_the_server(start: Start, directory: Path) -> None:
    """Measured: exit code 255, with the reason."""
    labelled = Model("l", base_path(directory, _1="half_plus_two"), labels={"stable": 1})
    server = start([labelled], wait=False, directory=directory)
    assert server.process.exit_code() == 255
    assert UNAVAILABLE.format(1, "l") in server.process.log
