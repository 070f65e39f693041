"""Which failed versions stay out, and what lets them in again: other files, or a person who asks."""

from __future__ import annotations

import dataclasses

from tfmodel_operator.api import rollout_spec
from tfmodel_operator.plan.rollout.fleet import Fleet
from tfmodel_operator.plan.rollout.record import Quarantined, Record, bounded
from tfmodel_serving import model_config, state


def reviewed(record: Record, fleet: Fleet, retry: str, policy: model_config.VersionPolicy) -> Record:
    """Return ``record`` with the quarantine as it is now: without what has ended, and with digests learnt since.

    A server that crashes holds nothing: what is held may be why.
    """
    if any(pod.crash for pod in fleet.pods):
        record = released(record)
    is_full = record.is_full
    found = (_reviewed(one, fleet, _kept(retry)) for one in record.quarantine)
    stay = tuple(one for one in found if one and not (is_full and _is_idle(one, fleet, policy)))
    return dataclasses.replace(record, quarantine=stay)


def _is_idle(one: Quarantined, fleet: Fleet, policy: model_config.VersionPolicy) -> bool:
    """Tell whether an entry keeps nothing out: its files are gone, or others are asked for by their numbers."""
    if isinstance(policy, model_config.Specific) and one.version not in policy.versions:
        return True
    found = fleet.verdicts(one.version).values()
    return bool(found) and all(said is not None and said.verdict == "Missing" for said in found)


def _kept(retry: str) -> str:
    """Return as much of the user's annotation as the record remembers: more would not be found in it again."""
    return retry[: state.MESSAGE_CHARACTERS]


def added(record: Record, fleet: Fleet, version: int, cause: str, message: str, retry: str, *, held: bool) -> Record:
    """Return ``record`` with ``version`` quarantined."""
    digests = fleet.digests(version)
    new = Quarantined(
        version,
        cause,
        state.clean(message),
        digest=next(iter(digests)) if len(digests) == 1 else "",
        retry=_kept(retry) if rollout_spec.retried_version(retry) == version else "",
        held=held,
    )
    return dataclasses.replace(record, quarantine=bounded(*record.quarantine, new))


def released(record: Record) -> Record:
    """Return ``record`` with nothing held: another version takes the private name."""
    return dataclasses.replace(record, quarantine=tuple(dataclasses.replace(one, held=False) for one in record.quarantine))


def _reviewed(one: Quarantined, fleet: Fleet, retry: str) -> Quarantined | None:
    asked = rollout_spec.retried_version(retry) == one.version
    if asked and retry != one.retry:
        return None
    if not asked:
        one = dataclasses.replace(one, retry="")
    verdicts = fleet.verdicts(one.version).values()
    if not one.digest and any(found is not None and found.verdict == "Incomplete" for found in verdicts):
        return None  # which files failed isn't known, but they are being written anew
    digests = fleet.digests(one.version)
    if len(digests) != 1:
        return one  # not known, or the pods don't agree yet
    digest = next(iter(digests))
    if one.digest:
        return one if digest == one.digest else None
    return dataclasses.replace(one, digest=digest)
