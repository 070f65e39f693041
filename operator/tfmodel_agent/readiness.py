"""When a pod is ready.

A dedicated server is ready once clients get from it what they get from any other pod: an answer of each model, by each label, and
not only of a version on its way in. From then on it is while each model answers; when its server is restarted, it begins anew. A
shared one must not be taken from its Services by one model that does not answer: it is ready once all has been served that could
be served at once, and from then on while the server answers. Clients of a model are kept from pods that lack it by the model's
own Service. No client is sent to the private name of a candidate, so it has no part in either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tfmodel_agent import history as memory
from tfmodel_agent import steps, trials
from tfmodel_serving import agent_config, model_config, saved_model

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
    if history.is_fed:
        return all(is_available(one.model.name, seen) for one in _public(wanted))
    return not waits_for(wanted, seen, history)


def waits_for(wanted: Iterable[steps.Wanted], seen: memory.Seen, history: memory.History) -> str:
    """Return what clients of a dedicated server that starts, or was restarted, can't have yet; ``""``: nothing."""
    return next((said for one in _public(wanted) if (said := _lacks(one, seen, history))), "")


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
    if readiness is agent_config.Readiness.EVERY_MODEL:
        return not waits_for(wanted, seen, history)
    if history.was_fed and now - history.began_at > REFEED_SECONDS:
        return True
    return not any(_is_awaited(one, seen, history, now) for one in _public(wanted))


def _public(wanted: Iterable[steps.Wanted]) -> list[steps.Wanted]:
    """Return those that clients are sent to: nobody is, under the private name of a candidate."""
    return [one for one in wanted if not model_config.is_candidate_name(one.model.name)]


def _lacks(wanted: steps.Wanted, seen: memory.Seen, history: memory.History) -> str:
    """Return what clients get from other pods and not from this one, as far as it can be had; ``""``: nothing."""
    name, available = wanted.model.name, _live(wanted, seen, "AVAILABLE")
    if not available:
        return f"{name}: no version is AVAILABLE"
    if not steps.named(wanted.model, available):
        return f"{name}: the config doesn't name version {max(available)}, and no other one is AVAILABLE"
    if labels := _missing_labels(wanted, seen, history, _not_refused(wanted)):
        return f"{name}: label {labels[0]} waits for version {wanted.model.version_labels[labels[0]]}"
    if late := _not_restored(wanted, seen, history):
        return f"{name}: version {max(late)} served before, and is not back yet"
    return ""


def _not_restored(wanted: steps.Wanted, seen: memory.Seen, history: memory.History) -> frozenset[int]:
    """Return what the server hasn't got again of what served before it was restarted, as far as that can be had.

    Without it a version that is only on its way in would get all requests, because the one they are meant for is late. Where a
    label says which one that is, any of them will do for the other requests.
    """
    served = {version for name, version in history.served if name == wanted.model.name}
    before = {version for version in steps.named(wanted.model, served) if _can_come_back(wanted, version, history)}
    late = before - _live(wanted, seen, "AVAILABLE")
    return frozenset() if wanted.model.version_labels and late != before else frozenset(late)


def _can_come_back(wanted: steps.Wanted, version: int, history: memory.History) -> bool:
    key = (wanted.model.name, version)
    is_whole = version in _not_refused(wanted) and trials.is_proven(key, wanted.fingerprints, history)
    return is_whole and key not in history.failures and not trials.is_given_up(key, history)


def _missing_labels(
    wanted: steps.Wanted, seen: memory.Seen, history: memory.History, to_be_had: frozenset[int]
) -> tuple[str, ...]:
    """Return the labels that clients can't use yet: a pod that starts, or whose server was restarted, gets none before.

    One whose version doesn't load here, or whose files are being written, keeps the pod out, and so stops the replacement of
    those that have it. One whose files are gone keeps nobody out: no other pod could load it either.
    """
    pushed = history.pushed or {}  # an agent that has just started sends the whole config at once
    placed = pushed[wanted.model.name].labels if wanted.model.name in pushed else {}
    can_be_had = to_be_had | _live(wanted, seen, *memory.LIVE)
    wish = {label: version for label, version in wanted.model.version_labels.items() if version in can_be_had}
    return tuple(sorted(label for label, version in wish.items() if placed.get(label) != version))


def _live(wanted: steps.Wanted, seen: memory.Seen, *states: str) -> frozenset[int]:
    """Return the versions of the model that the server has in one of ``states``."""
    served = seen.models.get(wanted.model.name, {})
    return frozenset(version for version, found in served.items() if found.state in states)


def _not_refused(wanted: steps.Wanted) -> frozenset[int]:
    """Return the versions whose files are good, or are still looked at or written."""
    rejected = saved_model.Verdict.REJECTED
    return frozenset(version for version, finding in wanted.findings.items() if finding.verdict is not rejected)


def _is_awaited(wanted: steps.Wanted, seen: memory.Seen, history: memory.History, now: float) -> bool:
    name = wanted.model.name
    if is_available(name, seen):
        return bool(_missing_labels(wanted, seen, history, wanted.verified))
    if history.was_fed:
        return any(served == name and not trials.is_barred((served, version), history) for served, version in history.served)
    targets = steps.wanted_versions(wanted, seen, history, now)
    if not targets:
        return now - history.began_at < FIRST_LOOKS_SECONDS
    return not any((name, version) in history.failures or (name, version) in history.crashes for version in targets)
