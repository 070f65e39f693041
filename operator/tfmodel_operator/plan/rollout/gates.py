"""What a version has to pass before clients get it, beyond verification: comparison, and a person's approval.

Both come after loading, so a candidate that has to pass them is loaded alone first, under its private name.
"""

from __future__ import annotations

from tfmodel_operator.api.rollout_spec import Approval, ComparisonPolicy
from tfmodel_operator.plan.rollout import facts
from tfmodel_operator.plan.rollout.situation import Situation
from tfmodel_serving import state


def after_loading(s: Situation) -> bool:
    """Tell whether a candidate has to be tried alone."""
    return compares(s) or s.rollout.approval is Approval.MANUAL


def compares(s: Situation) -> bool:
    """Tell whether the candidate's answers are compared: only with something."""
    return s.rollout.comparison.policy is not ComparisonPolicy.DISABLED and bool(s.promoted)


def approved(s: Situation, version: int) -> bool:
    return s.rollout.approval is Approval.AUTOMATIC or s.rollout.approved_version == version


def waiting(s: Situation, version: int) -> str:
    """Return what the gates must have, apart from approval, while ``version`` is alone; ``""``: they have it."""
    required = s.rollout.comparison.policy is ComparisonPolicy.REQUIRE
    return s.fleet.lacking(s.fleet.private, {version}) or (unanswered(s, version) if required else "")


def unanswered(s: Situation, version: int) -> str:
    """Return which ready pod has not compared yet; ``""``: none, or nothing is compared."""
    if not compares(s):
        return ""
    for pod in s.fleet.ready:
        if _result(s, pod, version) is None:
            model = pod.report.model(s.fleet.private) if pod.report else None
            how = f": {model.comparing}" if model and model.comparing else ""
            return f"pod {pod.name} has not compared version {version} with {max(s.promoted)} yet{how}"
    return ""


def differences(s: Situation, version: int) -> str:
    """Return how the candidate's answers differ by more than the limit, or why there is nothing to go by; ``""``: they don't."""
    limit = s.rollout.comparison.max_relative_difference
    for pod in s.fleet.following:
        result = _result(s, pod, version)
        if result is None:
            continue
        if result.message or not result.records:
            said = result.message or "there are no warmup records to compare by"
            return f"pod {pod.name}: version {version} can't be compared with {result.against}: {said}"
        for output in result.outputs:
            if not output.max_relative <= limit:  # NaN is a difference
                return (
                    f"pod {pod.name}: output {output.name} of version {version} differs from version {result.against}'s"
                    f" by {output.max_relative:g} of its value, and may by {limit:g}"
                )
    return ""


def compared(s: Situation, version: int) -> str:
    """Say how a comparison came out, over all pods."""
    results = [result for pod in s.fleet.following if (result := _result(s, pod, version))]
    outputs = [output for result in results for output in result.outputs]
    if not outputs:
        return ""
    largest = max(outputs, key=lambda output: (output.max_relative, output.name))
    median = 1000 * max(result.candidate.median_seconds for result in results)
    before = 1000 * max(result.promoted.median_seconds for result in results)
    differs = f"output {largest.name} differs by {largest.max_relative:g} of its value at most"
    compared = f"{sum(result.records for result in results)} records compared"
    return f"{compared}: {differs}; median latency {median:.3g} ms, before {before:.3g} ms"


def _result(s: Situation, pod: facts.Pod, version: int) -> state.Comparison | None:
    """Return a pod's comparison of ``version`` with the promoted one, under the published config."""
    model = pod.report.model(s.fleet.private) if pod.report and s.fleet.follows(pod) else None
    result = model.comparison if model else None
    if result is None or result.version != version or result.against != max(s.promoted, default=0):
        return None
    return result
