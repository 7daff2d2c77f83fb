"""Fill a partial file from many ranges at once, keeping its journal."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cryorepro.workflow.fetch.errors import Interrupted, Retry
from cryorepro.workflow.fetch.journal import Entry, JournalWriter
from cryorepro.workflow.fetch.meter import Meter
from cryorepro.workflow.fetch.pieces import Piece
from cryorepro.workflow.fetch.rate import RateLimiter
from cryorepro.workflow.fetch.remote import Transport
from cryorepro.workflow.fetch.retry import Patience
from cryorepro.workflow.fetch.settings import FetchSettings

_COMMIT_BYTES = 8 << 20
_RUN_BYTES = 4 << 20


class Ledger:
    """Received ranges on their way into the journal, in batches: a sync per range would cost more than the range."""

    def __init__(self, journal: JournalWriter | None, commit_s: float) -> None:
        self._journal, self.commit_s, self._lock = journal, commit_s, threading.Lock()
        self._waiting: list[Entry] = []
        self._bytes, self._since = 0, time.monotonic()

    def add(self, entry: Entry) -> None:
        """Note one range; every so often all are made durable."""
        with self._lock:
            self._waiting.append(entry)
            self._bytes += entry.length
            if self._bytes >= _COMMIT_BYTES or time.monotonic() - self._since >= self.commit_s:
                self._commit()

    def flush(self) -> None:
        """Make everything noted so far durable."""
        with self._lock:
            self._commit()

    def _commit(self) -> None:
        if self._journal is not None:
            self._journal.append(self._waiting)
        self._waiting, self._bytes, self._since = [], 0, time.monotonic()


class Assembly:
    """Reads pieces on several connections into one open file.

    Attributes:
        abandoned: A connection was still being waited for when the rest ended: its file must stay open.
    """

    def __init__(
        self,
        transport: Transport,
        settings: FetchSettings,
        limiter: RateLimiter,
        meter: Meter,
        descriptor: int,
        ledger: Ledger,
    ) -> None:
        self._transport, self._settings = transport, settings
        self._limiter, self._meter = limiter, meter
        self._descriptor, self._ledger = descriptor, ledger
        self.abandoned = False
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def run(self, pieces: Sequence[Piece]) -> None:
        """Fetch every piece, or raise what stopped the first one that could not be had.

        What came is in the journal either way, also when a person interrupts.

        Raises:
            FetchError: a piece cannot be had.
        """
        queue = deque(pieces)
        count = min(self._settings.connections, len(queue))
        # Daemons: a thread that waits for a silent server must not keep an interrupted command from ending.
        threads = [threading.Thread(target=self._work, args=(queue,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread in threads if self._stop.is_set() else ():
                thread.join(0.5)
            self.abandoned = any(thread.is_alive() for thread in threads)
            self._ledger.flush()
        if self._failure is not None:
            raise self._failure

    def _work(self, queue: deque[Piece]) -> None:
        while not self._stop.is_set():
            try:
                piece = queue.popleft()
            except IndexError:
                return
            try:
                self._fetch(piece)
            except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits, which raises it
                with self._lock:
                    if self._failure is None:
                        self._failure = error
                self._stop.set()

    def _fetch(self, piece: Piece) -> None:
        """One piece, with tries until it is there; a file without ranges starts over each time."""
        patience, cursor = Patience(self._settings), _Cursor(piece.start)
        while True:
            try:
                self._read(piece, cursor, patience)
                if self._stop.is_set():
                    raise Interrupted(f"{piece.stat.url}: stopped")
                if piece.end is None or cursor.at >= piece.end:
                    return
                raise Retry(f"{piece.stat.url}: the server sent less than was asked for")
            except Retry as error:
                if not piece.stat.ranges:
                    self._meter.found(piece.start - cursor.at)
                    cursor.at = piece.start
                if patience.exhausted(error.unreachable):
                    raise error.given_up(patience.failures) from error
                self._stop.wait(patience.wait_s(error.after_s))

    def _read(self, piece: Piece, cursor: _Cursor, patience: Patience) -> None:
        """One try from the cursor on."""
        run = _Run(self._ledger)
        try:
            for block in self._transport.read(piece.stat, cursor.at, piece.end, self._stop):
                useful = 0
                for local, view in piece.placed(cursor.at, block):
                    _write_at(self._descriptor, view, local)
                    run.add(local, view)
                    useful += len(view)
                cursor.at += len(block)
                self._meter.received(len(block), useful)
                if piece.stat.ranges:
                    patience.gained(len(block))
                self._limiter.spend(len(block), self._stop)
        finally:
            run.end()


@dataclass
class _Cursor:
    """How far a piece has come."""

    at: int


class _Run:
    """Joins consecutive blocks into ranges worth a line of the journal."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._start, self._length, self._crc, self._began = 0, 0, 0, 0.0

    def _age_s(self) -> float:
        return time.monotonic() - self._began

    def add(self, local: int, view: memoryview) -> None:
        elsewhere = local != self._start + self._length
        if self._length and (elsewhere or self._length >= _RUN_BYTES or self._age_s() >= self._ledger.commit_s):
            self.end()
        if not self._length:
            self._start, self._crc, self._began = local, 0, time.monotonic()
        self._crc = zlib.crc32(view, self._crc)
        self._length += len(view)

    def end(self) -> None:
        if self._length:
            self._ledger.add(Entry(self._start, self._length, self._crc))
        self._length = 0


def _write_at(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
