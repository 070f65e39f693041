"""The next safe step of a rollout: an ordered list of rules, of which the first that applies answers.

Ways back come before ways forward, and a way forward begins only when all pods agree on what is. Never at the same time: two
candidates of one model, or a candidate and other pods (unless the user asks for both in one, by `strategy: RollingUpdate`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfmodel_operator.plan.rollout import back, comparison, first, forward, record, rest, start
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
    step = next(found for rule in RULES if (found := rule(s)) is not None)
    return dataclasses.replace(step, record=dataclasses.replace(step.record, compared=_compared(s, step)))


def _compared(s: Situation, step: Step) -> Mapping[str, Any]:
    """Return what is to be remembered of comparisons: once a trial ends its agents forget, and people want to read it then.

    So it is where the candidate is held.
    """
    trial = max(s.published.on_trial, default=0)
    compares = step.config is None or (trial in step.config.on_trial and step.config.compare_with)
    if trial and not compares:
        found = comparison.of(s.facts, s.fleet.model, trial)
        if found:
            return {**found, **({"outputs": outputs[: record.MAX_OUTPUTS]} if (outputs := found.get("outputs")) else {})}
    candidate = step.record.candidate
    is_over = candidate is not None and candidate.version != s.record.compared.get("version")
    return {} if is_over else s.record.compared
