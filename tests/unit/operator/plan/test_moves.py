"""Where a Service points while its model moves: some server that answers, at every moment."""

from __future__ import annotations

import datetime

import pytest

from tests.unit.operator.makers import NOW, joined_model, model_server
from tfmodel_operator.plan import moves, service
from tfmodel_operator.world import Memory

OLD, NEW = "shared.old", "shared.new"


def live(server: str, moved: str = ""):
    return service.service(joined_model("m"), model_server().server, server, moved)


@pytest.mark.parametrize(
    ("current", "new_answers", "old_answers", "points_to"),
    [
        pytest.param(None, None, False, NEW, id="a first Service points where the model is to be"),
        pytest.param(OLD, None, True, OLD, id="it stays while the new server doesn't answer"),
        pytest.param(OLD, 2.0, True, NEW, id="it is switched when the new server has answered for a while"),
        pytest.param(OLD, None, False, NEW, id="an old server that doesn't answer is not waited for"),
        pytest.param(NEW, None, False, NEW, id="it is where it is to be"),
        pytest.param("m", None, True, "m", id="servers of its own serve until the shared one does"),
    ],
)
def test_where_it_points(current, new_answers, old_answers, points_to):
    found = moves.home(NEW, live(current) if current else None, answering_seconds=new_answers, home_answers=old_answers, now=NOW)
    assert found.server == points_to
    assert bool(found.moved) == (current not in (None, points_to))


def test_the_old_server_keeps_the_model_until_clients_have_connected_anew():
    switched = live(NEW, moves.home(NEW, live(OLD), answering_seconds=2.0, home_answers=True, now=NOW).moved)
    assert moves.left(switched) == OLD
    server = model_server(drainSeconds=40, grpc={"maxConnectionAgeSeconds": 30}).server
    assert moves.lingers_seconds(switched, server, NOW) == 38
    assert moves.lingers_seconds(switched, server, NOW + datetime.timedelta(seconds=39)) == 0


def test_it_is_not_switched_before_the_endpoints_controller_has_heard_of_the_new_pods():
    found = moves.home(NEW, live(OLD), answering_seconds=0.5, home_answers=True, now=NOW)
    assert found == moves.Home(OLD, again_in_seconds=1.5)
    memory = Memory(written=0.0)
    asked = [("a", True, 10.0), ("a", True, 11.0), ("a", False, 12.0), ("a", True, 13.0), ("a", True, 14.0), ("b", True, 15.0)]
    assert [memory.answering_seconds(*one) for one in asked] == [0.0, 1.0, None, 0.0, 1.0, 0.0]


def test_a_second_look_changes_nothing():
    switched = live(NEW, f"{OLD} 2026-01-01T00:00:00Z")
    assert moves.home(NEW, switched, answering_seconds=2.0, home_answers=True, now=NOW) == moves.Home(NEW, f"{OLD} 2026-01-01T00:00:00Z")


@pytest.mark.parametrize("moved", ["", "nonsense", "shared.old yesterday"])
def test_an_annotation_that_cannot_be_read_keeps_nothing(moved):
    assert moves.lingers_seconds(live(NEW, moved), model_server().server, NOW) == 0


def test_only_pods_that_answer_for_the_model_are_selected():
    assert live(NEW)["spec"]["selector"] == {"serving.tfmodel.dev/server": NEW, "serving.tfmodel.dev/model-m": "available"}
    assert live("m")["spec"]["selector"] == {"serving.tfmodel.dev/server": "m"}, "pods of its own have no such label"
