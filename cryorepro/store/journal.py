"""The append-only record of one run: ``events.jsonl``, hash-chained, durable line by line.

``append`` returns once the line is on disk. Whatever stands after the last returned line (a torn line after a
crash, half a line on a full disk) was never acknowledged; it is cut off, kept in ``events.torn`` when it was
found on opening, and its removal is itself an event. The chain shows edits, insertions and changes of order;
that lines were cut off the end shows only against a head kept elsewhere (``seal.json``, a bundle).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cryorepro.store.chain import EVENTS, Head, is_being_written, iter_events, read_events, scan
from cryorepro.store.errors import JournalError, RunLockedError, StoreError, describe, storage_error
from cryorepro.store.event import GENESIS, Event, make_event, sha256_hex
from cryorepro.store.files import fsync_directory, write_all

__all__ = ["EVENTS", "TORN", "Event", "Head", "Journal", "is_being_written", "iter_events", "read_events"]

TORN = "events.torn"
LOCK_PATIENCE_S = 0.5
"""How long opening waits for the lock: a reader that only probes it holds it for microseconds."""

_APPEND = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """The one writer of a run's journal. Use as a context manager, or call :meth:`close`.

    Threads may share it. It must not be used from a signal handler or, after ``fork``, by the child.
    """

    def __init__(self, directory: Path, descriptor: int, head: Head) -> None:
        self.directory = directory
        self.path = directory / EVENTS
        self._descriptor = descriptor
        self._head = head
        self._broken = ""
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Start the journal of a new run in ``directory``, which is made when missing.

        Raises:
            StoreError: it already has a journal, or it cannot be written.
        """
        path = directory / EVENTS
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            raise storage_error("create", path, error) from error
        with _closing_on_error(descriptor):
            _take_lock(descriptor, path)
            try:
                os.fsync(descriptor)
                fsync_directory(directory)
                fsync_directory(directory.resolve().parent)
            except OSError as error:
                raise storage_error("create", path, error) from error
        return cls(directory, descriptor, Head(0, GENESIS, 0))

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Continue an existing journal: lock it, verify the whole chain, cut off a torn tail.

        Raises:
            RunLockedError: another process is writing it.
            JournalError: the chain does not hold, or the run is sealed (see ``seal.reopen_run``).
            StoreError: it cannot be read or written.
        """
        path = directory / EVENTS
        try:
            descriptor = os.open(path, _APPEND)
        except OSError as error:
            raise storage_error("open", path, error) from error
        with _closing_on_error(descriptor):
            _take_lock(descriptor, path)
            if (directory / "seal.json").exists():
                raise JournalError(f"{directory} is sealed: its journal takes no more events")
            head, torn = scan(path)
            journal = cls(directory, descriptor, head)
            if torn:
                journal._recover(torn)
        return journal

    @property
    def head(self) -> Head:
        """Sequence number, hash and end offset of the last acknowledged event (0 and zeros when empty)."""
        return self._head

    def append(self, kind: str, data: Mapping[str, object]) -> Event:
        """Write one event and return it once it is on disk.

        Raises:
            EventError: the payload cannot be kept (NaN, non-JSON); nothing was written.
            StoreError: the disk is full, read-only or failing; nothing was written, and when the disk
                recovers later appends work.
        """
        if not self._lock.acquire(timeout=60.0):
            raise StoreError(f"cannot write {self.path}: another thread has been writing it for a minute")
        try:
            self._check_usable()
            head = self._head
            event, line = make_event(head.seq + 1, head.sha256, kind, data)
            self._write(line, head.size_bytes)
            # One assignment: an exception from a signal handler leaves the old head or the new one.
            self._head = Head(event.seq, event.sha256, head.size_bytes + len(line))
            return event
        finally:
            self._lock.release()

    def close(self) -> None:
        """Release the lock. The journal stays as it is; closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._descriptor < 0:
            raise StoreError(f"cannot write {self.path}: the journal is closed")
        if self._pid != os.getpid():
            raise StoreError(f"cannot write {self.path}: it belongs to the process that opened it")
        if self._broken:
            raise StoreError(f"cannot write {self.path}: {self._broken}")

    def _write(self, line: bytes, start: int) -> None:
        try:
            size = os.fstat(self._descriptor).st_size
            if size > start:
                # Left by an append that a signal interrupted before it was acknowledged.
                os.ftruncate(self._descriptor, start)
            elif size < start:
                self._broken = "acknowledged lines have disappeared from it"
                self._check_usable()
            write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as error:
            self._roll_back(start)
            raise storage_error("write", self.path, error) from error

    def _roll_back(self, start: int) -> None:
        try:
            os.ftruncate(self._descriptor, start)
            os.fsync(self._descriptor)
        except OSError as error:
            self._broken = f"a failed write could not be undone ({describe(error)}); open it again"

    def _recover(self, torn: bytes) -> None:
        torn_path = self.directory / TORN
        try:
            descriptor = os.open(torn_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, torn + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            fsync_directory(self.directory)
            os.ftruncate(self._descriptor, self._head.size_bytes)
            os.fsync(self._descriptor)
        except OSError as error:
            raise storage_error("recover the torn tail of", self.path, error) from error
        self.append("torn_tail_recovered", {"size_bytes": len(torn), "sha256": sha256_hex(torn)})


def _take_lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise storage_error("lock", path, error) from error
            if time.monotonic() > deadline:
                raise RunLockedError(f"the run is being written by another process: {path} is locked") from None
        time.sleep(0.02)


@contextlib.contextmanager
def _closing_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise
