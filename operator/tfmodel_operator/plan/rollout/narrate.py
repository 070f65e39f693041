"""What `status` says of a rollout, so that `kubectl get tfm -w` reads like `kubectl rollout status`."""

from __future__ import annotations

import datetime
from typing import Any

from tfmodel_operator.api import conditions, facts
from tfmodel_operator.api.conditions import Reason
from tfmodel_operator.plan.rollout import comparison, failures, fleet
from tfmodel_operator.plan.rollout.facts import Facts
from tfmodel_operator.plan.rollout.step import Phase, Step
from tfmodel_serving import state

STEP_CHARACTERS = 1024
_FAILED = frozenset({Phase.ROLLED_BACK, Phase.HELD})
_CAUSES = {
    failures.NOT_LOADED: Reason.MODEL_LOAD_FAILED,
    failures.DIFFERS: Reason.COMPARISON_FAILED,
    failures.LATE: Reason.PROGRESS_DEADLINE_EXCEEDED,
    failures.CRASHED: Reason.ROLLED_BACK,
}
_REASONS = {
    Phase.WAITING: Reason.WAITING_FOR_PODS,
    Phase.VERIFYING: Reason.VERSION_INCOMPLETE,
    Phase.TRYING: Reason.ROLLING_OUT,
    Phase.COMPARING: Reason.ROLLING_OUT,
    Phase.WAITING_FOR_APPROVAL: Reason.WAITING_FOR_APPROVAL,
    Phase.GROWING: Reason.ROLLING_OUT,
    Phase.REPLACING: Reason.ROLLING_OUT,
    Phase.BAKING: Reason.ROLLING_OUT,
    Phase.SETTLING: Reason.ROLLING_OUT,
    Phase.ROLLING_BACK: Reason.ROLLING_OUT,
    Phase.UPDATING_TEMPLATE: Reason.ROLLING_OUT,
    Phase.WAITING_FOR_ACCELERATOR: Reason.WAITING_FOR_ACCELERATOR,
    Phase.BLOCKED: Reason.INVALID_SPEC,
    Phase.PAUSED: Reason.PAUSED,
}
"""Those that are missing are judged by other checks, or are as desired."""


def status(step: Step, found: Facts, model: str) -> dict[str, Any]:
    """Return the members of `status` that a rollout writes; what isn't so is absent.

    `promotedVersion` is what requests without a version get. While pods differ it is the one that has been promoted, and every
    other version that a client may get is named too: by `candidateVersion`, or in `rollout.step`.
    """
    answers = {pod.name: max(served) for pod in found.pods if pod.ready and (served := fleet.available(pod, model))}
    promoted = next(iter(answers.values())) if len(set(answers.values())) == 1 and _all_say(found) else step.promoted
    rollout = {"phase": str(step.phase), "step": _text(step, answers, promoted)}
    if step.record.candidate is not None:
        rollout["startedAt"] = _time(step.record.candidate.started)
    elif step.record.bake is not None:
        rollout["startedAt"] = _time(step.record.bake.since)
    versions = {"promotedVersion": promoted, "candidateVersion": step.candidate}
    compared = comparison.status(step, found, model)
    return {
        "rollout": {**rollout, **({"comparison": compared} if compared else {})},
        **{name: version for name, version in versions.items() if version is not None},
    }


def finding(step: Step) -> conditions.Finding | None:
    """Return why not all is as spec asks, as far as the rollout is to blame; None: it isn't."""
    reason = _CAUSES.get(_cause(step), Reason.ROLLED_BACK) if step.phase in _FAILED else _REASONS.get(step.phase)
    if step.phase is Phase.STARTING and step.config is not None and step.config.served is None:
        reason = Reason.ROLLING_OUT  # no entry of the model is there that other checks could judge
    return conditions.Finding("False", reason, state.clean(step.reason, STEP_CHARACTERS)) if reason else None


def rollout(step: Step, found: Facts, model: str) -> facts.Rollout:
    """Return all that there is to say."""
    config = step.config
    serves = config is None or config.served is not None
    says = finding(step)
    at_zero = found.server is not None and not found.server.replicas and not found.pods
    if says and at_zero and says.reason.severity is not conditions.Severity.STALLED:
        says = None  # what waits, waits for pods, and nobody wants any
    return facts.Rollout(says, status(step, found, model), serves, dict(config.labels) if config else {})


def _cause(step: Step) -> str:
    quarantined = step.record.quarantined(step.failed) if step.failed else None
    return quarantined.cause if quarantined else ""


def _all_say(found: Facts) -> bool:
    return all(pod.report is not None for pod in found.pods if pod.ready)


def _text(step: Step, answers: dict[str, int], promoted: int | None) -> str:
    """Return the step's reason, and which pod answers with a version that nothing else in status names."""
    others = [(version, pod) for pod, version in answers.items() if version not in {promoted, step.candidate}]
    said = "".join(f"; pod {pod} answers with version {version}" for version, pod in sorted(dict(others).items()))
    return state.clean(step.reason, STEP_CHARACTERS - len(said)) + said


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
