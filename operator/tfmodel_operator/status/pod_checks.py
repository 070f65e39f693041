"""Checks of the objects, their pods, and the agents in them."""

from __future__ import annotations

from tfmodel_operator.api.conditions import Finding, Reason
from tfmodel_operator.api.facts import Facts, ServerFacts


def config_valid(seen: ServerFacts) -> Finding | None:
    """The objects that follow from spec are accepted by the API server."""
    return seen.config_problem


def pods_possible(seen: ServerFacts) -> Finding | None:
    """There are pods, or nothing keeps them from being made."""
    if seen.config_problem is None or seen.pods:
        return None
    return _failing(seen.config_problem.reason, f"there are no pods: {seen.config_problem.message}")


def pods_accepted(seen: ServerFacts) -> Finding | None:
    """The API server lets the Deployment make its pods."""
    return seen.deployment.problem


def accelerators_found(seen: ServerFacts) -> Finding | None:
    """No pod waits for an accelerator that isn't free."""
    found = _problem(seen, Reason.WAITING_FOR_ACCELERATOR)
    if found is None:
        return None
    fix = "free one, add a node that has one, or ask for fewer (spec.server.accelerator, spec.server.replicas)"
    if any(not pod.current for pod in seen.pods):
        fix += (
            "; until then the pods of the old template go on serving. spec.server.updateStrategy ReplaceFirst or Recreate gives "
            "their accelerators to the new ones, with fewer pods or none in between"
        )
    return _failing(found.reason, f"{found.message}: {fix}")


def source_mounted(seen: ServerFacts) -> Finding | None:
    """No pod waits for the claim."""
    return _problem(seen, Reason.SOURCE_UNAVAILABLE)


def images_pulled(seen: ServerFacts) -> Finding | None:
    """No pod waits for an image it can't get."""
    return _problem(seen, Reason.IMAGE_PULL_FAILED)


def containers_run(seen: ServerFacts) -> Finding | None:
    """No container crashes again and again."""
    return _problem(seen, Reason.CRASH_LOOP_BACK_OFF)


def template_running(seen: ServerFacts) -> Finding | None:
    """The Deployment's controller has seen the template that was applied, and no pod of another one is left."""
    made = seen.deployment
    if made.paused:
        return _failing(Reason.ROLLING_OUT, "the Deployment has been paused: `kubectl rollout resume` lets it go on")
    old = [pod.name for pod in seen.pods if not pod.current]
    if old:
        return _failing(Reason.ROLLING_OUT, f"{_pods(old)} of the old template, and {_starting(seen)}")
    if not made.observed:
        return _failing(Reason.ROLLING_OUT, "the Deployment's controller has not seen its last change yet")
    return None


def pods_exist(seen: ServerFacts) -> Finding | None:
    """The Deployment has the pods it should have: so say the pods, and so says its controller."""
    if other := _problem(seen, Reason.WAITING_FOR_PODS):
        return other
    made = seen.deployment
    if len(seen.pods) != made.wanted:
        return _failing(Reason.WAITING_FOR_PODS, f"there are {len(seen.pods)} pods and should be {made.wanted}")
    if not made.replicas == made.updated == made.wanted:
        return _failing(Reason.WAITING_FOR_PODS, f"the Deployment counts {made.updated} of {made.wanted} pods so far")
    return None


def pods_ready(seen: ServerFacts) -> Finding | None:
    """The kubelet calls every pod ready, and the Deployment's controller knows it."""
    for pod in seen.pods:
        if not pod.ready:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod.name} is not ready yet: {pod.phase}")
    if seen.deployment.ready != seen.deployment.wanted:
        message = f"the Deployment counts {seen.deployment.ready} of {seen.deployment.wanted} ready pods so far"
        return _failing(Reason.WAITING_FOR_PODS, message)
    return None


def agents_answer(seen: ServerFacts) -> Finding | None:
    """Every pod's agent answers."""
    for pod in seen.pods:
        if pod.agent is None and not (pod.agent_started or pod.ready):
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod.name} is starting: {pod.phase}")
        if pod.agent is None:
            fix = f"the operator must be let to port 8502 of the pods; `kubectl logs {pod.name} -c agent` tells more"
            return _failing(Reason.AGENT_UNREACHABLE, f"pod {pod.name}: {pod.agent_message}; {fix}")
    return None


def config_taken(seen: ServerFacts) -> Finding | None:
    """Every agent that answers uses the published config."""
    for pod, agent in seen.reports:
        if agent.config_message:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod}: {agent.config_message}")
        if agent.config_hash != seen.config_hash:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod} has not got the new config yet")
    return None


def config_read(seen: Facts) -> Finding | None:
    """Every agent that answers uses the published config, and speaks of the model in it."""
    if found := config_taken(seen):
        return found
    for pod, agent in seen.reports:
        if seen.rollout.serves and agent.model(seen.model.model_name) is None:
            why = f": its report is too long to have it ({agent.left_out})" if agent.left_out else " yet"
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod} says nothing of model {seen.model.model_name}{why}")
    return None


def claim_mounted(seen: Facts) -> Finding | None:
    """The pods of the shared server have the model's claim mounted."""
    claim = seen.model.source.claim_name
    lacking = [pod.name for pod in seen.pods if claim not in pod.claims]
    if not lacking:
        return None
    message = (
        f"{_pods(lacking)} without PersistentVolumeClaim {claim}: the server's pods are being replaced by ones that have it, as "
        "its updateStrategy says, and the other models go on serving"
    )
    return _failing(Reason.ROLLING_OUT, message)


def any_pod(seen: ServerFacts) -> Finding | None:
    """The shared server has pods."""
    if seen.pods:
        return None
    scaled = ": it is scaled to zero" if seen.deployment.observed and not seen.deployment.wanted else ""
    return _failing(Reason.WAITING_FOR_PODS, f"the server has no pods{scaled}")


def any_pod_ready(seen: ServerFacts) -> Finding | None:
    """One of the shared server's pods serves; others may be starting."""
    if any(pod.ready for pod in seen.pods):
        return None
    return any_pod(seen) or pods_ready(seen)


def servers_sound(seen: ServerFacts) -> Finding | None:
    """No model server waits for its restart."""
    for pod, agent in seen.reports:
        if agent.suspect:
            return _failing(Reason.SERVER_SUSPECT, f"pod {pod}: {agent.suspect}; the kubelet restarts the model server")
    return None


def servers_answer(seen: ServerFacts) -> Finding | None:
    """Every model server answers its agent."""
    for pod, agent in seen.reports:
        if agent.server_message:
            return _failing(Reason.WAITING_FOR_PODS, f"pod {pod}: {agent.server_message}")
    return None


def agents_settled(seen: ServerFacts) -> Finding | None:
    """No agent has anything left to do."""
    for pod, agent in seen.reports:
        if not agent.settled:
            return _failing(Reason.ROLLING_OUT, f"pod {pod}: {agent.step}")
    return None


def _problem(seen: ServerFacts, reason: Reason) -> Finding | None:
    """Return the first pod's problem of this kind; those of the applied template come first."""
    found = [pod for pod in seen.pods if pod.problem and pod.problem.reason is reason]
    for pod in sorted(found, key=lambda pod: not pod.current):
        assert pod.problem  # noqa: S101 filtered above
        others = f" (and {len(found) - 1} more pods)" if len(found) > 1 else ""
        return _failing(reason, f"pod {pod.name}{others}: {pod.problem.message}")
    return None


def _starting(seen: ServerFacts) -> str:
    new = [pod for pod in seen.pods if pod.current]
    for pod in new:
        if not pod.ready:
            return f"pod {pod.name} of the new one is not ready yet: {pod.problem.message if pod.problem else pod.phase}"
    return f"{len(new)} of {seen.deployment.wanted} of the new one"


def _pods(names: list[str]) -> str:
    return f"pod {names[0]} is" if len(names) == 1 else f"pods {', '.join(names[:3])}{', …' if len(names) > 3 else ''} are"


def _failing(reason: Reason, message: str) -> Finding:
    return Finding("False", reason, message)
