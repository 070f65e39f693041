"""Random walks of a model between servers: clients that got answers go on getting them, whatever is changed and cut off when."""

from __future__ import annotations

import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.operator.makers import NOW, joined_model, model_server
from tfmodel_operator.plan import moves, service

SERVERS = ["shared.a", "shared.b", "shared.c", "m"]
"""Three shared servers, and the model's own."""
OWN = model_server(drainSeconds=2).server
PROXY_SECONDS = 1.0
"""How long connections go on to where the Service pointed before."""


class Moves(RuleBasedStateMachine):
    """A model's Service, and what each server has loaded: asked for, loading, answering."""

    def __init__(self):
        super().__init__()
        self.now, self.target, self.live, self.answering = NOW, "shared.a", None, set()
        self.loading: set[str] = set()
        self.full: set[str] = set()
        self.switched_at, self.left, self.served = NOW, "", False

    def asks(self, server):
        """As a pass over the server judges: the model wants it, is still there, or has just left."""
        wants = self.target == server and server not in self.full
        lingers = moves.left(self.live) == server and moves.lingers_seconds(self.live, OWN, self.now)
        return wants or moves.points_to(self.live) == server or bool(lingers)

    @rule(server=st.sampled_from(SERVERS))
    def ask_for_another(self, server):
        self.target = server

    @rule(server=st.sampled_from(SERVERS[:-1]))
    def fill_up(self, server):
        if server not in self.answering | self.loading:
            self.full.add(server)

    @rule(server=st.sampled_from(SERVERS[:-1]))
    def make_room(self, server):
        self.full.discard(server)

    @rule(server=st.sampled_from(SERVERS))
    def pass_over_a_server(self, server):
        if self.asks(server):
            self.loading |= {server} - self.answering
        else:
            self.loading.discard(server)
            self.answering.discard(server)

    @rule(server=st.sampled_from(SERVERS))
    def finish_loading(self, server):
        if server in self.loading:
            self.loading.discard(server)
            self.answering.add(server)

    @rule()
    def pass_over_the_model(self):
        current = moves.points_to(self.live)
        if self.target in self.full and self.live is None:
            return
        home = moves.home(
            self.target, self.live, target_answers=self.target in self.answering, home_answers=current in self.answering, now=self.now
        )
        keeps = home.moved and (home.server != current or moves.lingers_seconds(self.live, OWN, self.now))
        if home.server != current and current:
            self.switched_at, self.left = self.now, current
        self.live = service.service(joined_model("m"), OWN, home.server, home.moved if keeps else "")

    @rule(seconds=st.sampled_from([0.2, 1.0, 5.0, 60.0]))
    def let_time_pass(self, seconds):
        self.now += datetime.timedelta(seconds=seconds)

    @invariant()
    def clients_get_answers(self):
        """Once clients get answers, the Service never points where nothing answers."""
        answered = moves.points_to(self.live) in self.answering
        assert answered or not self.served, f"the Service points to {moves.points_to(self.live)}; {self.answering} answer"
        self.served = answered

    @invariant()
    def the_old_server_answers_for_a_while(self):
        since = (self.now - self.switched_at).total_seconds()
        if self.left and since < PROXY_SECONDS and moves.left(self.live) == self.left and self.left in self.answering | self.loading:
            assert self.asks(self.left)


Moves.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestMoves = Moves.TestCase
