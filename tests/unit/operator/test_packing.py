"""Where models go that select their server: within budgets, the same for the same facts, and no more moves than needed."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmodel_operator.plan import packing
from tfmodel_operator.plan.packing import Model, Reason, Server

GIB = 1 << 30


def pack(models, servers):
    return {name: placement.server for name, placement in packing.pack(models, servers).items()}


def server(name, budget=10 * GIB, limit=None, **labels):
    return Server(name, labels, budget, limit)


def again(models, places):
    """The same models, each where the last pass has put it."""
    return [dataclasses.replace(model, current=places[model.name].server) for model in models]


# -- what a person would expect ------------------------------------------------------------------------------------------


def test_the_largest_go_first_and_the_first_server_is_filled_first():
    models = [Model("small", memory_bytes=2 * GIB), Model("large", memory_bytes=8 * GIB), Model("middle", memory_bytes=4 * GIB)]
    assert pack(models, [server("b"), server("a")]) == {"large": "a", "small": "a", "middle": "b"}


def test_only_servers_with_the_labels_that_are_asked_for():
    servers = [server("a", gpu="t4"), server("b", gpu="l4")]
    assert pack([Model("m", {"gpu": "l4"}, GIB)], servers) == {"m": "b"}
    nowhere = packing.pack([Model("m", {"gpu": "h100", "team": "x"}, GIB)], servers)["m"]
    assert (nowhere.server, nowhere.reason) == ("", Reason.SERVER_NOT_FOUND)
    assert nowhere.message == "no server has the labels gpu=h100, team=x"


def test_a_model_that_fits_nowhere_is_told_the_arithmetic():
    servers = [server("a"), server("b", budget=None, limit=1), server("c", budget=3 * GIB)]
    models = [Model("old", memory_bytes=8 * GIB, current="a"), Model("one", memory_bytes=GIB, current="b")]
    full = packing.pack([*models, Model("new", memory_bytes=4 * GIB)], servers)["new"]
    assert full.reason is Reason.SERVER_FULL
    assert full.message == (
        "it needs 4 GiB: a has 10 GiB - 8 GiB in use = 2 GiB free; b holds 1 of at most 1 models; c has 3 GiB - 0 bytes in use = 3 GiB free"
    )


def test_a_message_stays_short_however_many_servers_are_full():
    full = packing.pack([Model("m", memory_bytes=4 * GIB)], [server(f"s{n:03}", GIB) for n in range(200)])["m"]
    assert full.message.endswith("; and 195 more servers")


def test_it_gets_a_place_as_soon_as_there_is_room():
    models = [Model("old", memory_bytes=8 * GIB, current="a"), Model("new", memory_bytes=4 * GIB)]
    assert pack(models, [server("a")]) == {"old": "a", "new": ""}
    assert pack(models, [server("a"), server("b")]) == {"old": "a", "new": "b"}
    assert pack(models, [server("a", 12 * GIB)]) == {"old": "a", "new": "a"}
    assert pack(models[1:], [server("a")]) == {"new": "a"}


def test_a_placed_model_stays_though_it_would_be_placed_elsewhere_today():
    assert pack([Model("m", memory_bytes=GIB, current="b")], [server("a"), server("b")]) == {"m": "b"}


@pytest.mark.parametrize(
    "servers",
    [
        pytest.param([server("b")], id="its server is gone"),
        pytest.param([server("a", gpu="t4"), server("b", gpu="l4")], id="its server does not match any more"),
        pytest.param([server("a", budget=GIB, gpu="l4"), server("b", gpu="l4")], id="its server's budget is too small now"),
        pytest.param([server("a", limit=0, gpu="l4"), server("b", gpu="l4")], id="its server takes no models any more"),
    ],
)
def test_it_moves_when_it_must(servers):
    selector = {"gpu": "l4"} if servers[0].labels else {}
    moved = packing.pack([Model("m", selector, 2 * GIB, current="a")], servers)["m"]
    assert (moved.server, moved.message) == ("b", "on b, before on a")


def test_of_a_server_that_holds_too_much_the_smallest_model_that_is_enough_moves():
    sizes = {"one": 1, "three": 3, "four": 4, "five": 5}
    models = [Model(name, memory_bytes=size * GIB, current="a") for name, size in sizes.items()]  # 13 of 10
    assert pack(models, [server("a"), server("b")]) == {"one": "a", "three": "b", "four": "a", "five": "a"}


def test_what_serves_stays_even_on_a_server_that_holds_too_much():
    models = [Model("m", memory_bytes=12 * GIB, current="a")]
    stays = packing.pack(models, [server("a"), server("b", 11 * GIB)])["m"]
    assert (stays.server, stays.reason) == ("a", Reason.PLACED)
    assert stays.message == (
        "stays on a, which holds too much: models: 1, in use: 12 GiB of 10 GiB; "
        "it can't move: b has 11 GiB - 0 bytes in use = 11 GiB free"
    )


def test_memory_is_what_is_declared_or_else_what_the_files_weigh_and_a_fifth():
    assert packing.estimate(5, 1000) == 5
    assert packing.estimate(None, 1000) == 1200
    assert packing.estimate(None, 0) is None


def test_a_model_of_unknown_size_waits_and_one_that_is_placed_keeps_others_from_being_squeezed_in():
    unknown = packing.pack([Model("m")], [server("a")])["m"]
    assert (unknown.server, unknown.reason) == ("", Reason.MEMORY_UNKNOWN)
    assert pack([Model("m")], [server("a", budget=None)]) == {"m": "a"}, "where nothing is limited nothing need be known"
    behind = packing.pack([Model("m", current="a"), Model("n", memory_bytes=GIB)], [server("a")])
    assert behind["m"].server == "a"
    assert behind["n"].message == "it needs 1 GiB: a waits for the size of m, which is not known yet"


# -- what must hold for all ------------------------------------------------------------------------------------------------

LABELS = st.dictionaries(st.sampled_from(["gpu", "team"]), st.sampled_from(["x", "y"]), max_size=2)
SERVERS = st.lists(
    st.builds(
        Server,
        st.sampled_from("abcdef"),
        LABELS,
        st.none() | st.integers(0, 40),
        st.none() | st.integers(0, 6),
    ),
    max_size=6,
    unique_by=lambda server: server.name,
)
SELECTORS = st.dictionaries(st.sampled_from(["gpu", "team"]), st.sampled_from(["x", "y"]), max_size=1)
MODELS = st.lists(
    st.builds(
        Model,
        st.integers(0, 40).map("m{:02}".format),
        SELECTORS,
        st.none() | st.integers(0, 25),
        st.sampled_from(["", "", "a", "b", "c", "gone"]),
    ),
    max_size=14,
    unique_by=lambda model: model.name,
)
thorough = settings(max_examples=400, deadline=None)


@thorough
@given(MODELS, SERVERS)
def test_nothing_is_put_where_it_takes_a_server_over_its_limits(models, servers):
    places = packing.pack(models, servers)
    for one in servers:
        here = [model for model in models if places[model.name].server == one.name]
        if all(model.current == one.name for model in here):
            continue  # what holds too much has been so before; see below
        assert one.max_models is None or len(here) <= one.max_models
        if one.budget_bytes is not None:
            assert all(model.memory_bytes is not None for model in here)
            assert sum(model.memory_bytes for model in here) <= one.budget_bytes


@thorough
@given(MODELS, SERVERS)
def test_only_servers_that_match_are_chosen(models, servers):
    by_name = {server.name: server for server in servers}
    for model in models:
        place = packing.pack(models, servers)[model.name].server
        assert not place or model.selector.items() <= by_name[place].labels.items()


@thorough
@given(MODELS, SERVERS, st.randoms(use_true_random=False))
def test_the_order_of_the_input_makes_no_difference(models, servers, dice: random.Random):
    shuffled, others = list(models), list(servers)
    dice.shuffle(shuffled)
    dice.shuffle(others)
    assert packing.pack(shuffled, others) == packing.pack(models, servers)


@thorough
@given(MODELS, SERVERS)
def test_doing_it_again_changes_nothing(models, servers):
    first = packing.pack(models, servers)
    second = packing.pack(again(models, first), servers)
    assert {name: place.server for name, place in second.items()} == {name: place.server for name, place in first.items()}


@thorough
@given(MODELS, SERVERS, st.integers(0, 25), SELECTORS)
def test_one_more_model_moves_no_other(models, servers, memory, selector):
    before = pack(models, servers)
    more = pack([*again(models, packing.pack(models, servers)), Model("new", selector, memory)], servers)
    assert {name: place for name, place in more.items() if name != "new"} == before
    # Nor does it where the others are still on their way.
    at_once = pack([*models, Model("new", selector, memory)], servers)
    placed = {model.name for model in models if model.current}
    assert {name: place for name, place in at_once.items() if name in placed} == {name: before[name] for name in placed}


@thorough
@given(MODELS, SERVERS)
def test_a_placed_model_moves_only_for_a_reason(models, servers):
    by_name = {server.name: server for server in servers}
    places = packing.pack(models, servers)
    for model in models:
        home = by_name.get(model.current)
        if home is None or places[model.name].server == home.name or not model.selector.items() <= home.labels.items():
            continue
        before = [one for one in models if one.current == home.name and one.selector.items() <= home.labels.items()]
        too_many = home.max_models is not None and len(before) > home.max_models
        too_much = home.budget_bytes is not None and sum(one.memory_bytes or 0 for one in before) > home.budget_bytes
        assert too_many or too_much


@thorough
@given(MODELS, SERVERS)
def test_what_has_no_place_fits_nowhere_and_is_told_why(models, servers):
    places = packing.pack(models, servers)
    for model in models:
        place = places[model.name]
        assert place.message
        assert (place.reason is Reason.PLACED) == bool(place.server)
        if place.server:
            continue
        for one in servers:
            here = [other for other in models if places[other.name].server == one.name]
            matches = model.selector.items() <= one.labels.items()
            has_seat = one.max_models is None or len(here) < one.max_models
            known = all(other.memory_bytes is not None for other in [*here, model])
            fits = one.budget_bytes is None or (known and sum(other.memory_bytes for other in [*here, model]) <= one.budget_bytes)
            assert not (matches and has_seat and fits), (model, one)


@thorough
@given(MODELS, SERVERS)
def test_nothing_placed_loses_its_place_while_its_server_stands(models, servers):
    by_name = {server.name: server for server in servers}
    places = packing.pack(models, servers)
    for model in models:
        home = by_name.get(model.current)
        if home is not None and model.selector.items() <= home.labels.items():
            assert places[model.name].server
