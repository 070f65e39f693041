"""Random walks of a model between servers: clients that got answers go on getting them, whatever is changed and cut off when."""

from __future__ import annotations

import datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.operator.makers import NOW, joined_model, model_server
from tfmodel_operator.plan import moves, service
from tfmodel_operator.world import Memory

SERVERS = ["shared.a", "shared.b", "m"]
"""Two shared servers, and the model's own."""
OWN = model_server(drainSeconds=2).server
ENDPOINTS_SECONDS = 1.0
"""How long the endpoints controller may take to hear that a pod answers."""
PROXY_SECONDS = 1.0
"""How long connections go on to where the Service pointed before."""


class Moves(RuleBasedStateMachine):
    """A model's Service, and what each server has loaded: asked for, loading, answering."""

    def __init__(self):
        super().__init__()
        self.now, self.target, self.live = NOW, "shared.a", None
        self.answering: dict[str, datetime.datetime] = {}
        self.memory = Memory(written=0.0)
        self.loading: set[str] = set()
        self.full: set[str] = set()
        self.switched_at, self.left, self.served, self.served_by = NOW, "", False, ""

    def asks(self, server):
        """As a pass over the server judges: the model wants it, is still there, or has just left."""
        wants = self.target == server and server not in self.full
        lingers = moves.left(self.live) == server and moves.lingers_seconds(self.live, OWN, self.now)
        return wants or moves.points_to(self.live) == server or bool(lingers)

    def judge(self):
        return self.memory.answering_seconds(self.target, self.target in self.answering, self.now.timestamp())

    @rule(server=st.sampled_from(SERVERS))
    def ask_for_another(self, server):
        self.target = server

    @rule(server=st.sampled_from(SERVERS[:-1]))
    def fill_up(self, server):
        if server not in self.answering.keys() | self.loading:
            self.full.add(server)

    @rule(server=st.sampled_from(SERVERS[:-1]))
    def make_room(self, server):
        self.full.discard(server)

    @rule(server=st.sampled_from([None, *SERVERS]))
    def pass_over_servers(self, server):
        for one in SERVERS if server is None else [server]:
            if self.asks(one):
                self.loading |= {one} - self.answering.keys()
            else:
                self.loading.discard(one)
                self.answering.pop(one, None)
        self.judge()  # a pass over a server has its models looked at

    @precondition(lambda self: self.loading)
    @rule()
    def finish_loading(self):
        self.answering |= dict.fromkeys(self.loading, self.now)
        self.loading.clear()

    @precondition(lambda self: self.memory.answering)
    @rule()
    def restart_the_operator(self):
        self.memory = Memory(written=0.0)

    @rule()
    def pass_over_the_model(self):
        current = moves.points_to(self.live)
        if self.target in self.full and self.live is None:
            return
        home = moves.home(self.target, self.live, answering_seconds=self.judge(), home_answers=current in self.answering, now=self.now)
        keeps = home.moved and (home.server != current or moves.lingers_seconds(self.live, OWN, self.now))
        if home.server != current and current:
            self.switched_at, self.left = self.now, current
        self.live = service.service(joined_model("m"), OWN, home.server, home.moved if keeps else "")

    @rule()
    def all_goes_on(self):
        self.pass_over_servers(None)
        self.finish_loading()
        self.pass_over_the_model()

    @rule(seconds=st.sampled_from([0.5, 2.5, 60.0]))
    def let_time_pass(self, seconds):
        self.now += datetime.timedelta(seconds=seconds)

    @invariant()
    def clients_get_answers(self):
        """Once clients get answers, the Service never points where nothing answers."""
        home = moves.points_to(self.live)
        heard = self.now - datetime.timedelta(seconds=ENDPOINTS_SECONDS)
        answered = home in self.answering and (self.served_by == home or self.answering[home] <= heard)
        assert answered or not self.served, f"the Service points to {moves.points_to(self.live)}; {self.answering} answer"
        self.served, self.served_by = answered, home

    @invariant()
    def the_old_server_answers_for_a_while(self):
        since = (self.now - self.switched_at).total_seconds()
        if self.left and since < PROXY_SECONDS and moves.left(self.live) == self.left and self.left in self.answering.keys() | self.loading:
            assert self.asks(self.left)


Moves.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestMoves = Moves.TestCase
