"""A limit on bytes per second that all connections of a transfer share."""

from __future__ import annotations

import threading
import time


class RateLimiter:
    """A bucket that fills at `rate` bytes per second and holds at most a quarter of a second's worth."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def block_bytes(self, most: int) -> int:
        """How much to read at once, so that the limit is kept evenly."""
        return most if self._rate is None else max(1024, min(most, int(self._rate / 16)))

    def spend(self, count: int, stop: threading.Event) -> None:
        """Account for `count` bytes; sleeps until they are allowed, or `stop` is set."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.25) + count / self._rate
            wait = self._free_at - now
        if wait > 0:
            stop.wait(wait)
