"""The next safe step of a rollout: an ordered list of rules, of which the first that applies answers.

Ways back come before ways forward, and a way forward begins only when all pods agree on what is. Never at the same time: two
candidates of one model, or a candidate and other pods (unless the user asks for both in one, by `strategy: RollingUpdate`).
"""

from __future__ import annotations

from collections.abc import Callable

from tfmodel_operator.plan.rollout import back, first, forward, rest, start
from tfmodel_operator.plan.rollout.facts import Desired, Facts
from tfmodel_operator.plan.rollout.situation import Situation, situation
from tfmodel_operator.plan.rollout.step import Step

Rule = Callable[[Situation], Step | None]

RULES: tuple[Rule, ...] = (
    first.first,
    first.unknown,
    back.leave,
    back.take_back,
    forward.paused,
    forward.template_first,
    forward.trial,
    forward.grow,
    start.start,
    rest.rest,
)


def plan_rollout(desired: Desired, facts: Facts, now: float) -> Step:
    """Return the next safe step; the same facts give the same step.

    Args:
        now: Unix seconds.
    """
    s = situation(desired, facts, now)
    return next(found for rule in RULES if (found := rule(s)) is not None)
