"""Which version takes the model server down: the verdict on a death, from what was being loaded when it came.

A SavedModel can abort the process that loads it (an init op, a warmup request, a limit of the machine), and with it every
other model; fed again as before, the server would die again, for ever. So:

* Versions that were being loaded when the server died are *suspects*. What was not being loaded is not.
* Suspects are loaded again alone: when everything else serves, one at a time. A version that serves, or fails in an orderly
  way, is none any more.
* A version that was loading alone is the cause, as far as anybody can tell. The next try waits, longer each time, and after the
  last one the version stays out until its files change. A server killed by something else at the very moment is thus forgiven.
* Where nothing else serves there is nobody to protect: it is tried for ever, as the kubelet would.
* A version that has served with the same files most likely died of something else: the machine, or somebody's kill. It is tried
  again soon, as long as clients are not sent here anyhow because it is missing.

A load that hangs until the server is restarted for it counts like a death, and weighs more: it was in the way of every reload.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

from tfmodel_agent.failures import Key

PROTECTING_SECONDS = (660.0, 3600.0)
"""Waits after a first and a second death, where other models would be taken down again by a third. Longer than the kubelet
remembers a crash (10 minutes), so that each costs the others one restart at once, and not a growing back-off."""
LONELY_SECONDS = (10.0, 30.0, 120.0, 600.0)
"""Waits where nothing else serves; the last one again and again."""
SERVED_SECONDS = (1.0, 5.0, 20.0, 60.0, 300.0)
"""The same for a version that has served with the same files, where clients are not sent to this pod without it."""
SERVED_PROTECTING_SECONDS = (60.0, *PROTECTING_SECONDS)
"""Waits of such a version where others would be taken down again."""
MAX_KNOWN = 200
"""Crashes that are remembered; the latest ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Crash:
    """What speaks against one version.

    Args:
        mark: Of its files, as :func:`mark` gives it: other files are another version.
        at: When the server last died, in monotonic seconds.
        alone: Deaths while it was the only one that was loading; 0: there were others each time.
        others: Versions that were loading with it at the last death.
        is_hang: The server did not die by itself: it was restarted because the load took too long.
    """

    mark: str
    at: float
    alone: int = 0
    others: int = 0
    is_hang: bool = False


def mark(fingerprint: object) -> str:
    """Return a short name for the files of a version, which outlives the process; some file systems' inode numbers do not."""
    if isinstance(fingerprint, Mapping):
        fingerprint = sorted((name, file.size, file.modified) for name, file in fingerprint.items())
    return hashlib.sha256(repr(fingerprint).encode()).hexdigest()[:16]


def blame(known: Mapping[Key, Crash], loading: Mapping[Key, str], now: float, *, is_hang: bool = False) -> dict[Key, Crash]:
    """Return what speaks against whom after a death of the server.

    Args:
        loading: The marks of the versions that were being loaded.
    """
    blamed = dict(known)
    for key, files in loading.items():
        before = known.get(key)
        alone = before.alone if before is not None and before.mark == files else 0
        blamed[key] = Crash(files, now, alone + (len(loading) == 1), len(loading) - 1, is_hang)
    latest = sorted(blamed, key=lambda key: blamed[key].at, reverse=True)[:MAX_KNOWN]
    return {key: blamed[key] for key in latest}


def forgive(known: Mapping[Key, Crash], innocent: frozenset[Key], fingerprints: Mapping[Key, object]) -> Mapping[Key, Crash]:
    """Return ``known`` without the versions that are ``innocent``, or whose files are other ones now."""
    if not known:
        return known
    return {
        key: crash
        for key, crash in known.items()
        if key not in innocent and (key not in fingerprints or crash.mark == mark(fingerprints[key]))
    }


def pardon(known: Mapping[Key, Crash], asked: Iterable[Key]) -> Mapping[Key, Crash]:
    """Return ``known`` with those of ``asked`` as they were before they were tried alone: each gets one more trial, at once."""
    return {**known, **{key: dataclasses.replace(known[key], alone=0, is_hang=False) for key in set(asked) & set(known)}}


def retry_at(crash: Crash, *, protects: bool, has_served: bool = False) -> float | None:
    """Return when the version may be loaded again, alone, or None: not before its files change.

    Args:
        protects: Clients get something else from this server, which a death would cost them.
        has_served: It has been AVAILABLE with the files that it had when the server died.
    """
    if crash.alone == 0:
        return crash.at
    if not protects:
        waits: tuple[float, ...] = SERVED_SECONDS if has_served else LONELY_SECONDS
        return crash.at + waits[min(crash.alone, len(waits)) - 1]
    waits = SERVED_PROTECTING_SECONDS if has_served else PROTECTING_SECONDS
    tries = crash.alone + crash.is_hang
    return crash.at + waits[tries - 1] if tries <= len(waits) else None


def describe(version: int, crash: Crash, again: float | None) -> str:
    """Say what speaks against ``version`` and what comes next: `the model server died while version 3 was loading (2 times)`.

    Args:
        again: When it is loaded again, as :func:`retry_at` says.
    """
    event = "had to be restarted" if crash.is_hang else "died"
    if crash.alone == 0:
        company = f" and {crash.others} more were" if crash.others else " was"
        return f"the model server {event} while version {version}{company} loading; it is loaded alone next"
    times = "1 time" if crash.alone == 1 else f"{crash.alone} times"
    then = "it stays out until its files change" if again is None else f"it is tried again after {_show(again - crash.at)}"
    return f"the model server {event} while version {version} was loading ({times}); {then}"


def _show(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
