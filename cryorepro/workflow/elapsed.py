"""Elapsed time over all attempts of a run, killed ones included.

An attempt that ends says how long it took. One that was killed left a heartbeat, rewritten every second: its time
is known to a second.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

BEAT_SECONDS = 1.0


class Stopwatch:
    """Time of this attempt, kept on disk by :meth:`beat`."""

    def __init__(self, heartbeat: Path, attempt: int) -> None:
        self._path = heartbeat
        self._attempt = attempt
        self._started = time.monotonic()
        self._last = 0.0

    @property
    def seconds(self) -> float:
        """Since this attempt began."""
        return time.monotonic() - self._started

    def beat(self) -> None:
        """Write the time down, at most once a second; a full disk costs only the beat."""
        now = time.monotonic()
        if now - self._last < BEAT_SECONDS:
            return
        self._last = now
        with contextlib.suppress(OSError):
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps({"attempt": self._attempt, "seconds": self.seconds}))
            temporary.replace(self._path)


def seconds_of_killed(heartbeat: Path, attempt: int) -> float:
    """How long the killed ``attempt`` had run, as its last heartbeat says; 0 when it left none."""
    try:
        content = json.loads(heartbeat.read_text())
    except (OSError, ValueError):
        return 0.0
    if not isinstance(content, dict) or content.get("attempt") != attempt:
        return 0.0
    return float(content["seconds"])
