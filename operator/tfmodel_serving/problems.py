"""Why the files of a version are refused, as exceptions: what each means for the verdict is in its class.

``Problem`` ─┬─ ``Missing``     a file isn't there (yet)
             ├─ ``Unfinished``  what a copy that hasn't ended looks like: something is cut short, empty or not readable yet
             ├─ ``Unsettled``   it can't be told just now: files changed while they were read, or the volume failed
             └─ ``Broken``      no further bytes can make it good
"""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Why a version can't be served, as conditions have it; all but the last two come with a verdict on its files."""

    NONE = ""
    INCOMPLETE = "VersionIncomplete"  # files are missing or still being written
    REJECTED = "VersionRejected"  # the model server would fail to load it, serve it wrongly, or be hurt by it
    WARMUP_INVALID = "WarmupInvalid"  # the warmup file would fail the load, or kill the model server
    WARMUP_MISSING = "WarmupMissing"  # warmup is Required and there is no file, or too few records
    NO_VERSION_FOUND = "NoVersionFound"  # it is asked for, and has no directory
    MODEL_LOAD_FAILED = "ModelLoadFailed"  # its files are good, and the model server ended its load with an error


class Problem(Exception):
    """One thing that keeps a version from being served; ``str()`` is one line a person can act on.

    Args:
        message: Without the version, which the caller knows: ``variables/variables.index is missing``.
        reason: Of the verdict, if it is a rejection.
    """

    def __init__(self, message: str, reason: Reason = Reason.REJECTED) -> None:
        super().__init__(message)
        self.reason = reason


class Missing(Problem):
    """A file isn't there: the version is `Incomplete` for as long as it isn't."""


class Unfinished(Problem):
    """What is there looks like the beginning of a good version: `Incomplete` for a while, then `Rejected`."""


class Unsettled(Problem):
    """`Incomplete`, and to be looked at again even if the files seem unchanged."""


class Broken(Problem):
    """`Rejected`."""
