"""Reading a journal: the chain is verified on the way, and a run that is being written may be read."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cryorepro.store.errors import JournalError, storage_error
from cryorepro.store.event import GENESIS, MAX_LINE_BYTES, Event, parse_line

EVENTS = "events.jsonl"


class Head(NamedTuple):
    """The last acknowledged event and where it ends in the file."""

    seq: int
    sha256: str
    size_bytes: int


def read_events(directory: Path) -> list[Event]:
    """All acknowledged events of a run, the chain verified; a run being written may be read.

    Raises:
        JournalError: a line was edited, inserted, removed or reordered; the message names the line.
        StoreError: the journal cannot be read.
    """
    return list(iter_events(directory))


def iter_events(directory: Path) -> Iterator[Event]:
    """As :func:`read_events`, one event at a time. A last line without its newline is not acknowledged."""
    path = directory / EVENTS
    seq, prev = 0, GENESIS
    for line in _lines(path):
        if not line.endswith(b"\n"):
            if len(line) > MAX_LINE_BYTES:
                raise JournalError(f"{path} line {seq + 1}: longer than a journal line may be")
            return
        event = _parse(path, line, seq + 1, prev)
        seq, prev = event.seq, event.sha256
        yield event


def is_being_written(directory: Path) -> bool:
    """Whether a process on this machine holds the journal open for writing, that is, the run is alive."""
    try:
        descriptor = os.open(directory / EVENTS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise storage_error("read", directory / EVENTS, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise storage_error("lock", directory / EVENTS, error) from error
    finally:
        os.close(descriptor)
    return False


def scan(path: Path) -> tuple[Head, bytes]:
    """The last event that was acknowledged, and the bytes after it that were not.

    Raises:
        JournalError: a line before the last does not hold.
        StoreError: the journal cannot be read.
    """
    head = Head(0, GENESIS, 0)
    lines = _lines(path)
    for line in lines:
        # A last line with NULs is a block that a power cut kept from the disk although the file had grown.
        if not line.endswith(b"\n") or b"\0" in line:
            rest = next(lines, None)
            if rest is None:
                return head, line
        event = _parse(path, line, head.seq + 1, head.sha256)
        head = Head(event.seq, event.sha256, head.size_bytes + len(line))
    return head, b""


def _parse(path: Path, line: bytes, seq: int, prev: str) -> Event:
    try:
        return parse_line(line[:-1], seq, prev)
    except JournalError as error:
        raise JournalError(f"{path} line {seq}: {error}") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            # Two bytes of room: a legal line with its newline, and one more to tell that it is too long.
            while line := stream.readline(MAX_LINE_BYTES + 2):
                yield line
    except OSError as error:
        raise storage_error("read", path, error) from error
