"""Retries with a fixed pause (util/retrier.cc)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TypeVar

from tests.modelserver import log, status

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """``--max_num_load_retries`` (after the first attempt) and ``--load_retry_interval_micros``.

    The pause is spent *on the calling thread*, which is why a load that retries holds its load thread throughout.
    """

    max_retries: int = 5
    interval_seconds: float = 60.0
    sleep: Callable[[float], None] = time.sleep


def retry(description: str, policy: RetryPolicy, attempt: Callable[[], _T], wanted: Callable[[], bool]) -> _T:
    """Call ``attempt`` until it succeeds, the retries are used up, or ``wanted()`` turns false after a failure.

    Raises:
        StatusError: The last attempt's. A retry that is no longer wanted is noticed only after the pause and one more
            attempt.
    """
    tries = 0
    while True:
        if tries > 0:
            policy.sleep(max(0.0, policy.interval_seconds))
            log.info("retrier", f"Retrying of {description} retry: {tries}")
        try:
            return attempt()
        except status.StatusError as failure:
            log.error("retrier", f"{description} failed: {failure}")
            tries += 1
            exhausted = tries >= policy.max_retries + 1
            if exhausted:
                log.info("retrier", f"Retrying of {description} exhausted max_num_retries: {policy.max_retries}")
            elif not wanted():
                log.info("retrier", f"Retrying of {description} was cancelled.")
            else:
                continue
            raise
