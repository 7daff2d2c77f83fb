"""How much has come, how fast, how long it will still take."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a transfer. `resumed_bytes` were there before; the rate is of the last seconds."""

    label: str
    done_bytes: int
    total_bytes: int | None
    resumed_bytes: int
    rate_bytes_per_s: float
    eta_s: float | None


Watcher = Callable[[Reading], None]


class Meter:
    """Counts bytes from any thread and shows them at most every `interval_s`."""

    WINDOW_S = 10.0

    def __init__(
        self, watcher: Watcher | None = None, interval_s: float = 0.2, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._watcher, self._interval_s, self._clock = watcher, interval_s, clock
        self._lock = threading.Lock()
        self._label, self._done, self._resumed, self._received = "", 0, 0, 0
        self._total: int | None = None
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._shown = float("-inf")

    def expect(self, total_bytes: int | None) -> None:
        """The size of everything that is to come."""
        self._total = total_bytes

    def label(self, text: str) -> None:
        """What is being fetched."""
        self._label = text

    def found(self, count: int) -> None:
        """Bytes that need not be fetched again; negative when they turned out useless."""
        with self._lock:
            self._done += count
            self._resumed += count

    def received(self, count: int, useful: int) -> None:
        """Bytes that came, and how many of them are kept."""
        with self._lock:
            self._received += count
            self._done += useful
            now = self._clock()
            if len(self._marks) > 1 and now - self._marks[-2][0] < 0.1:
                self._marks[-1] = (now, self._received)
            else:
                self._marks.append((now, self._received))
            while len(self._marks) > 2 and now - self._marks[0][0] > self.WINDOW_S:
                self._marks.popleft()
            show = self._watcher is not None and now - self._shown >= self._interval_s
            if show:
                self._shown = now
            reading = self._reading() if show else None
        if reading is not None and self._watcher is not None:
            self._watcher(reading)

    @property
    def received_bytes(self) -> int:
        """Everything that came over the network."""
        return self._received

    def read(self) -> Reading:
        """The state now."""
        with self._lock:
            return self._reading()

    def _reading(self) -> Reading:
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        rate = (after - before) / (last - first) if last > first else 0.0
        left = None if self._total is None else max(0, self._total - self._done)
        eta = left / rate if left is not None and rate > 0 else None
        return Reading(self._label, self._done, self._total, self._resumed, rate, eta)
