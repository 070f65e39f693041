"""The versions under a base path, judged by their files alone, before a model server hears of them.

A version that appears file by file is `Incomplete` until everything is there and two looks find the same files: the real
server would load a half copied one, call it AVAILABLE, and fail every request. What the real server accepts and serves
right is never refused; what is odd about it is a warning. Nothing here imports TensorFlow or runs anything from a model.

One look: list (:mod:`.versions`, :mod:`.files`) → if nothing has changed since the look before, :mod:`.verify` once. Later
looks at the same files cost their stats only, and those of a version at rest not even that each time.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping

from tfmodel_serving import digest, files, model_config, signatures, verify, versions, warmup
from tfmodel_serving.problems import Missing, Problem, Reason, Unfinished, Unsettled

MAX_EXTRA_VERSIONS = 64
"""Versions judged beyond those that a policy names; a volume may keep thousands of old ones."""
QUIET_SECONDS = 10.0
"""A verified version whose files have not changed for so long is at rest."""
MESSAGE_CHARACTERS = 1000
"""Messages are cut to this length: names in a file may have a megabyte."""


class Verdict(enum.StrEnum):
    """What the files say about a version."""

    VERIFIED = "Verified"
    INCOMPLETE = "Incomplete"
    REJECTED = "Rejected"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How strictly versions are judged.

    Args:
        is_hashed: Also compute the digest, here and now.
        is_brief: Of signatures keep what :func:`tfmodel_serving.signatures.names_only` does; a volume may hold dozens of versions
            with megabytes of them.
        mount: What links may not leave; ``""``: the base path.
        patience_seconds: How long files that look cut short may stay unchanged before that is no copy any more but a fault.
    """

    warmup: warmup.Rules = dataclasses.field(default_factory=warmup.Rules)
    is_hashed: bool = False
    is_brief: bool = False
    mount: str = ""
    patience_seconds: float = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one version, with the reason a person can act on, and what its files say.

    Args:
        message: One line, ``variables/variables.index is missing``; ``""`` if it is verified.
        digest: ``sha256:…``, or ``""`` if it wasn't computed.
        size_bytes: Of all its files.
    """

    verdict: Verdict
    message: str = ""
    reason: Reason = Reason.NONE
    digest: str = ""
    signatures: Mapping[str, signatures.Signature] = dataclasses.field(default_factory=dict)
    warmup_records: int = 0
    warnings: tuple[str, ...] = ()
    size_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One look at a version directory.

    Args:
        directory: Its name as it is on disk (``00007`` is version 7).
        listing: Its files, or None if they can't be listed.
        since: When the files were first seen as they are, in monotonic seconds.
        looked_at: When they were last looked at, in monotonic seconds.
        judged: The finding once the files have settled, whatever the patience; None before.
        is_curable: ``judged`` is a rejection that more bytes may end.
        hashes: Of its files, for the next digest.
    """

    directory: str
    finding: Finding
    since: float
    settings: Settings
    looked_at: float = 0.0
    listing: files.Listing | None = None
    judged: Finding | None = None
    is_curable: bool = False
    hashes: digest.Known = dataclasses.field(default_factory=dict)

    @property
    def fingerprint(self) -> object:
        """Equal for two looks if no file was written between them."""
        return self.listing.files if self.listing else None


def look(
    model: model_config.Model,
    before: Mapping[int, Look],
    settings: Settings,
    now: float,
    rest_seconds: float = 0.0,
    watched: Collection[int] = (),
) -> dict[int, Look]:
    """Look at the versions of ``model`` once: those its policy may want, and some more for people.

    Args:
        before: What this function returned the last time.
        now: Monotonic seconds.
        rest_seconds: How long a version at rest isn't looked at again; that it is still there, is.
        watched: Versions that are looked at whatever the policy.

    Raises:
        SourceUnavailable: The base path is missing, no directory, not readable, or holds too much.
    """
    found = versions.list_versions(model.base_path).directories
    chosen = sorted({*_chosen(found, model.version_policy), *(found.keys() & set(watched))}, reverse=True)
    return {
        version: look_at(model.base_path, found[version], before.get(version), settings, now, rest_seconds) for version in chosen
    }


def look_at(
    base_path: str, directory: str, before: Look | None, settings: Settings, now: float, rest_seconds: float = 0.0
) -> Look:
    """Judge one version; a second look at unchanged files costs their stats only.

    Args:
        before: The look before this one, if there was one: without, the version is `Incomplete` at best.
        now: Monotonic seconds.
        rest_seconds: See :func:`look`.
    """
    if before is not None and before.directory != directory:
        before = None
    if before is not None and _is_at_rest(before, settings, now) and now - before.looked_at < rest_seconds:
        return before
    return dataclasses.replace(_look_at_files(base_path, directory, before, settings, now), looked_at=now)


def _is_at_rest(before: Look, settings: Settings, now: float) -> bool:
    is_verified = before.finding.verdict is Verdict.VERIFIED
    return is_verified and before.settings == settings and now - before.since > QUIET_SECONDS


def _look_at_files(base_path: str, directory: str, before: Look | None, settings: Settings, now: float) -> Look:
    try:
        listing = files.scan(base_path, directory, settings.mount)
    except Unsettled as problem:
        if before is not None and before.judged is not None:
            return before  # a volume that can't be read just now says nothing about what was there
        return Look(directory, _refusal(problem), now, settings)
    except Problem as problem:
        refused = Look(directory, _refusal(problem), now, settings, is_curable=isinstance(problem, Unfinished))
        if before is not None and before.listing is None and before.finding.message == refused.finding.message:
            refused = dataclasses.replace(refused, since=before.since)
        return dataclasses.replace(refused, finding=_with_patience(refused, now))
    if before is None or before.listing != listing:
        finding = dataclasses.replace(_first_finding(listing, is_new=before is None), size_bytes=listing.size)
        return Look(directory, finding, now, settings, listing=listing, hashes=before.hashes if before else {})
    is_judged = before.judged is not None and before.settings == settings
    settled = before if is_judged else _judge(before, listing, settings)
    return dataclasses.replace(settled, finding=_with_patience(settled, now))


def _chosen(found: Mapping[int, str], policy: model_config.VersionPolicy) -> list[int]:
    newest = sorted(found, reverse=True)
    match policy:
        case model_config.All():
            return newest
        case model_config.Latest(num_versions):
            return newest[: num_versions + MAX_EXTRA_VERSIONS]
        case model_config.Specific(wanted):
            return sorted({*newest[:MAX_EXTRA_VERSIONS], *(version for version in wanted if version in found)}, reverse=True)


def _first_finding(listing: files.Listing, *, is_new: bool) -> Finding:
    """Return the finding for files that were not seen twice.

    Args:
        is_new: They have not been seen at all, as in a pod that starts: nobody need be writing them.
    """
    try:
        verify.model_file(listing)
    except Missing as problem:
        return _incomplete(str(problem))
    return _incomplete(files.FOUND if is_new else files.WRITTEN)


def _judge(before: Look, listing: files.Listing, settings: Settings) -> Look:
    """Return the look with the files of ``listing`` judged."""
    hashes = before.hashes
    try:
        contents = verify.verify(listing, settings.warmup)
        finding = Finding(
            Verdict.VERIFIED,
            signatures=signatures.names_only(contents.signatures) if settings.is_brief else contents.signatures,
            warmup_records=contents.warmup_records,
            warnings=contents.warnings,
            size_bytes=listing.size,
        )
        if settings.is_hashed and listing.size <= digest.MAX_BYTES:
            found = digest.digest(listing, hashes)
            finding, hashes = dataclasses.replace(finding, digest=found.value), found.known
        if files.scan(listing.volume, listing.directory) != listing:
            raise Unsettled(files.WRITTEN)
    except Problem as problem:
        refused = dataclasses.replace(_refusal(problem), size_bytes=listing.size)
        look_again = isinstance(problem, Unsettled)
        return dataclasses.replace(
            before,
            settings=settings,
            finding=refused,
            judged=None if look_again else refused,
            is_curable=isinstance(problem, Unfinished),
            hashes=hashes,
        )
    return dataclasses.replace(before, settings=settings, finding=finding, judged=finding, is_curable=False, hashes=hashes)


def _with_patience(settled: Look, now: float) -> Finding:
    """Return the finding, softened while a copy may still go on."""
    finding = settled.judged or settled.finding
    if settled.is_curable and now - settled.since < settled.settings.patience_seconds:
        return dataclasses.replace(finding, verdict=Verdict.INCOMPLETE, reason=Reason.INCOMPLETE)
    return finding


def _refusal(problem: Problem) -> Finding:
    if isinstance(problem, Missing | Unsettled):
        return _incomplete(str(problem))
    return Finding(Verdict.REJECTED, str(problem)[:MESSAGE_CHARACTERS], problem.reason)


def _incomplete(message: str) -> Finding:
    return Finding(Verdict.INCOMPLETE, message[:MESSAGE_CHARACTERS], Reason.INCOMPLETE)
