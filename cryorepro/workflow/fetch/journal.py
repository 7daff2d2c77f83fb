"""The journal beside a partial file: which of its bytes are on the disk, with a checksum of each range.

One header line, then a line per range, each with its own checksum. Bytes reach the disk before the line that
names them, so a crash loses at most what was not yet written down; a torn last line is passed over.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.store.files import fsync_directory, write_all
from cryorepro.workflow.fetch.ranges import Range, merged

_MAXIMUM_BYTES = 256 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """Bytes [start, start + length) of the partial file, and their CRC-32."""

    start: int
    length: int
    crc: int


def read_journal(path: Path) -> tuple[dict[str, Any], list[Entry]] | None:
    """Header and entries; None when there is no journal or its header is damaged."""
    try:
        if path.stat().st_size > _MAXIMUM_BYTES:
            return None
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    header = _content(lines[0])
    if header is None:
        return None
    entries = []
    for line in lines[1:]:
        text = _content(line)
        if text is None:
            continue  # torn by a crash, or damaged: its bytes will be fetched again
        start, length, crc = (int(part) for part in text.split(b" "))
        if start >= 0 and length > 0:
            entries.append(Entry(start, length, crc))
    try:
        return json.loads(header), entries
    except ValueError:
        return None


def intact(partial: Path, entries: list[Entry]) -> list[Entry]:
    """The entries whose bytes are still what was received."""
    kept = []
    with partial.open("rb") as stream:
        for entry in entries:
            stream.seek(entry.start)
            left, crc = entry.length, 0
            while left and (block := stream.read(min(left, _BLOCK))):
                crc, left = zlib.crc32(block, crc), left - len(block)
            if left == 0 and crc == entry.crc:
                kept.append(entry)
    return kept


def covered(entries: list[Entry]) -> list[Range]:
    """The ranges that entries name."""
    return merged((entry.start, entry.start + entry.length) for entry in entries)


class JournalWriter:
    """Appends to the journal of an open partial file; not safe for threads (its owner holds a lock)."""

    def __init__(self, path: Path, data_descriptor: int, header: dict[str, Any], entries: list[Entry]) -> None:
        """Start the journal anew with `header` and the entries that are still good."""
        self._data = data_descriptor
        draft = path.with_name(path.name + ".new")
        self._file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_APPEND, 0o644)
        lines = [_line(json.dumps(header, sort_keys=True).encode()), *map(_entry_line, entries)]
        write_all(self._file, b"".join(lines))
        os.fsync(self._file)
        draft.replace(path)
        fsync_directory(path.parent)

    def append(self, entries: list[Entry]) -> None:
        """Make the bytes of `entries` durable, then say so."""
        if entries:
            os.fdatasync(self._data)
            write_all(self._file, b"".join(map(_entry_line, entries)))
            os.fdatasync(self._file)

    def close(self) -> None:
        """Close the journal; what was appended stays."""
        os.close(self._file)


def _entry_line(entry: Entry) -> bytes:
    return _line(f"{entry.start} {entry.length} {entry.crc}".encode())


def _line(content: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _content(line: bytes) -> bytes | None:
    crc, space, content = line.partition(b" ")
    return content if space and crc == b"%08x" % zlib.crc32(content) else None
