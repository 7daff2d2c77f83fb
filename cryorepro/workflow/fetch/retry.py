"""When to try again, and after how long."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass, field

from cryorepro.workflow.fetch.settings import FetchSettings

MAXIMUM_WAIT_S = 120.0
PROGRESS_BYTES = 64 << 10
"""Bytes that count as progress: with each a fresh set of tries, so tries are bounded by the size of what is read."""


@dataclass
class Patience:
    """Counts tries without progress. The waits grow exponentially, drawn from the whole interval.

    "Full jitter": M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    """

    settings: FetchSettings
    random: random.Random = field(default_factory=random.Random)
    failures: int = 0
    _gained: int = 0

    def gained(self, count: int) -> None:
        """Bytes came."""
        self._gained += count
        if self._gained >= PROGRESS_BYTES:
            self.failures, self._gained = 0, 0

    def exhausted(self, unreachable: bool) -> bool:
        """Count a failure; whether it was the last one allowed."""
        self.failures += 1
        limit = self.settings.unreachable_attempts if unreachable else self.settings.attempts
        return self.failures >= limit

    def wait_s(self, asked_s: float | None) -> float:
        """Seconds before the next try; at least what the server asked for, within reason."""
        ceiling = min(self.settings.backoff_cap_s, self.settings.backoff_base_s * 2.0 ** (self.failures - 1))
        drawn = self.random.uniform(0.0, ceiling)
        return max(drawn, min(asked_s, MAXIMUM_WAIT_S)) if asked_s is not None else drawn


def retry_after_s(value: str | None) -> float | None:
    """The header ``Retry-After``: seconds, or a date (RFC 9110, 10.2.3); None if there is none to be read."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    moment = epoch_of(value)
    return max(0.0, moment - time.time()) if moment is not None else None


def epoch_of(value: str | None) -> int | None:
    """An HTTP date as seconds since 1970; None if it is none."""
    try:
        return int(email.utils.parsedate_to_datetime(value).timestamp()) if value else None
    except (ValueError, TypeError, OverflowError):
        return None
