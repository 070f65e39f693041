"""When a pod is ready.

A dedicated server is ready while each of its models answers. A shared one must not be taken from its Services by one model
that does not: it is ready once all has been served that could be served at once, and from then on while the server answers.
Clients of a model are kept from pods that lack it by the model's own Service. No client is sent to the private name of a
candidate, so it has no part in either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tfmodel_agent import history as memory
from tfmodel_agent import steps, trials
from tfmodel_serving import agent_config, model_config

FIRST_LOOKS_SECONDS = 5.0
"""How long a pod that has just started waits for verdicts on files: two looks, and a slow volume."""
REFEED_SECONDS = 5.0
"""How long a pod whose server was restarted waits for all that had served before."""


def is_ready(
    readiness: agent_config.Readiness, wanted: Iterable[steps.Wanted], seen: memory.Seen, history: memory.History
) -> bool:
    """Tell whether clients may be sent to the model server of this pod.

    Args:
        seen: Of a server that is too busy to answer, what it has served so far.
    """
    if not seen.reachable and not (seen.is_busy and seen.models):
        return False
    if readiness is agent_config.Readiness.PER_MODEL:
        return history.is_fed
    public = _public(wanted)
    return all(is_available(one.model.name, seen) for one in public) and (
        history.is_fed or history.was_fed or all(_is_labelled(one, seen, history) for one in public)
    )


def is_available(name: str, seen: memory.Seen) -> bool:
    """Tell whether clients of the model called ``name`` get answers."""
    return any(found.state == "AVAILABLE" for found in seen.models.get(name, {}).values())


def is_fed(
    wanted: Sequence[steps.Wanted],
    seen: memory.Seen,
    history: memory.History,
    now: float,
    readiness: agent_config.Readiness = agent_config.Readiness.PER_MODEL,
) -> bool:
    """Tell whether the server has, or had in this life, all that it could be given at once; a dedicated one: all it must have."""
    if history.is_fed or not seen.reachable:
        return history.is_fed
    if readiness is agent_config.Readiness.EVERY_MODEL and not history.was_fed:
        return all(is_available(one.model.name, seen) and _is_labelled(one, seen, history) for one in _public(wanted))
    if history.was_fed and now - history.began_at > REFEED_SECONDS:
        return True
    return not any(_is_awaited(one, seen, history, now) for one in _public(wanted))


def _public(wanted: Iterable[steps.Wanted]) -> list[steps.Wanted]:
    """Return those that clients are sent to: nobody is, under the private name of a candidate."""
    return [one for one in wanted if not model_config.is_candidate_name(one.model.name)]


def _is_labelled(wanted: steps.Wanted, seen: memory.Seen, history: memory.History) -> bool:
    """Tell whether clients can use every label: a pod that starts gets none before.

    One whose version doesn't load here keeps the pod out, and so stops the replacement of those that have it. One whose files are
    gone keeps nobody out: no other pod could load it either.
    """
    if history.pushed is None:
        return True  # what labels there are isn't known
    placed = history.pushed[wanted.model.name].labels if wanted.model.name in history.pushed else {}
    served = seen.models.get(wanted.model.name, {})
    can_be_had = wanted.verified | {version for version, found in served.items() if found.state in memory.LIVE}
    return all(label in placed for label, version in wanted.model.version_labels.items() if version in can_be_had)


def _is_awaited(wanted: steps.Wanted, seen: memory.Seen, history: memory.History, now: float) -> bool:
    name = wanted.model.name
    if is_available(name, seen):
        return not _is_labelled(wanted, seen, history)
    if history.was_fed:
        return any(served == name and not trials.is_barred((served, version), history) for served, version in history.served)
    targets = steps.wanted_versions(wanted, seen, history, now)
    if not targets:
        return now - history.began_at < FIRST_LOOKS_SECONDS
    return not any((name, version) in history.failures or (name, version) in history.crashes for version in targets)
