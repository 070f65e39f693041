"""Which versions should be served, of those that can be: the user's policy, applied to facts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfmodel_operator.plan.rollout.fleet import Fleet
from tfmodel_operator.plan.rollout.record import Record
from tfmodel_serving import model_config

STABLE = "stable"
"""The label that is kept on the promoted version where the user names no labels."""


def chosen(policy: model_config.VersionPolicy, versions: Collection[int]) -> frozenset[int]:
    """Return those of ``versions`` that ``policy`` asks for."""
    match policy:
        case model_config.Latest(count):
            return frozenset(sorted(versions)[-count:])
        case model_config.All():
            return frozenset(versions)
        case model_config.Specific(named):
            return frozenset(versions) & frozenset(named)


def unfit(version: int, fleet: Fleet, record: Record) -> str:
    """Return why ``version`` can't become a candidate now; ``""``: it can.

    Every reporting pod must have verified it on its own mount, no ready pod may be silent, and the pods must see the same files.
    """
    if quarantined := record.quarantined(version):
        return f"version {version} is quarantined: {quarantined.message}"
    if record.is_full and version < (oldest := min(one.version for one in record.quarantine)):
        return (
            f"version {version} is not tried: {len(record.quarantine)} newer ones, from {oldest} on, have failed;"
            " delete those, or ask for this one by versionPolicy.specific"
        )
    verdicts = fleet.verdicts(version)
    verified = sum(found is not None and found.verdict == "Verified" for found in verdicts.values())
    if not verdicts or verified < len(verdicts):
        return f"version {version} verified on {verified} of {len(verdicts)} pods{_first_reason(version, fleet)}"
    if fleet.silent:
        return f"version {version}: pod {fleet.silent[0].name} says nothing"
    if len(fleet.digests(version)) > 1:
        return f"version {version} has other files on one pod than on another: {_digests(version, fleet)}"
    return ""


def fit(fleet: Fleet, record: Record) -> frozenset[int]:
    """Return the versions that could become candidates."""
    return frozenset(version for version in fleet.known() if not unfit(version, fleet, record))


def lost(version: int, fleet: Fleet) -> bool:
    """Tell whether a promoted version can't be had any more, and some pod needs it.

    A version that vanishes from the volume is kept while it serves. Only when all pods agree that it is gone or broken, and
    one of them hasn't got it, is it no longer what can be served. A pod that joins and hasn't spoken of it isn't asked: else it
    would be lost and not lost by turns, for as long as the pods of its successor come and go.
    """
    found = [one for pod in fleet.reporting if (one := fleet.finding(pod, version)) is not None or pod.ready]
    if not found or fleet.silent or fleet.unreadable():
        return False
    gone = all(one is not None and one.verdict in {"Missing", "Rejected"} for one in found)
    return gone and any(one is not None and one.state not in {"START", "LOADING", "AVAILABLE"} for one in found)


def kept_by_labels(
    served: Collection[int], labels: Mapping[str, int], before: Mapping[str, int], wanted: Collection[int]
) -> frozenset[int]:
    """Return the served versions that must stay because a label names them, or is still on them and can't move yet.

    Not those above all ``wanted`` ones: they would go on getting the requests that name no version.
    """
    named = set(labels.values()) | {before[label] for label in labels if label in before and labels[label] not in wanted}
    return frozenset(version for version in served if version in named and version < max(wanted, default=0))


def labels(
    wish: Mapping[str, int], before: Mapping[str, int], versions: Collection[int], movable: Collection[int]
) -> dict[str, int]:
    """Return where labels are to be: each moves to a version of ``movable`` only, and stays where it is until then."""
    placed = {}
    for label, version in wish.items():
        if version in versions and version in movable:
            placed[label] = version
        elif before.get(label) in versions:
            placed[label] = before[label]
    return placed


def _first_reason(version: int, fleet: Fleet) -> str:
    for pod, found in fleet.verdicts(version).items():
        if found is None:
            return f"; pod {pod} has not looked at it yet"
        if found.verdict != "Verified":
            return f"; pod {pod}: {found.verdict}{': ' + found.message if found.message else ''}"
    return ""


def _digests(version: int, fleet: Fleet) -> str:
    said = {pod: found.digest for pod, found in fleet.verdicts(version).items() if found and found.digest}
    return ", ".join(f"pod {pod} {digest[:19]}" for pod, digest in sorted(said.items()))
