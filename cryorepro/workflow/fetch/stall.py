"""A connection that drips is dropped: silence is caught by the read time-out, a byte now and then is not."""

from __future__ import annotations

import time

from cryorepro.workflow.fetch.errors import Retry
from cryorepro.workflow.fetch.settings import FetchSettings


class StallGuard:
    """Watches one connection. With a rate limit, less is asked of it: the limit is not the server's fault."""

    def __init__(self, settings: FetchSettings) -> None:
        self._window_s = settings.stall_s
        self._least = float(settings.stall_bytes)
        if settings.rate_limit is not None:
            share = settings.rate_limit * settings.stall_s / settings.connections / 4
            self._least = min(self._least, share)
        self._since, self._count = time.monotonic(), 0

    def received(self, count: int, url: str) -> None:
        """Raise Retry when the last window brought too little."""
        self._count += count
        now = time.monotonic()
        if now - self._since < self._window_s:
            return
        if self._count < self._least:
            raise Retry(f"{url}: only {self._count} bytes came in {now - self._since:.0f} s")
        self._since, self._count = now, 0
