"""The one form a bundle's zip file has: members stored as they are, in order, with nothing between or around them.

Every byte of the headers follows from the members' names, lengths and checksums, so the whole archive can be
compared with what it must be: nothing can hide in it, nothing in it can grow when it is opened, and the same
members always give the same file. Layout: PKWARE APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

LOCAL_SIZE, CENTRAL_SIZE, END_SIZE = 30, 46, 22
LARGEST_ARCHIVE_BYTES = 2**32 - 2**20
"""Without the Zip64 extension; maps of a paper fit, particle stacks do not belong here."""
MAXIMUM_MEMBERS = 5000
LONGEST_NAME = 200

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_VERSION = 20
_MADE_BY = 3 << 8 | _VERSION
_UTF8 = 1 << 11
_DATE, _TIME = (1980 - 1980) << 9 | 1 << 5 | 1, 0
_MODE = 0o100644 << 16
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_HIDDEN = frozenset({".zenodo.json"})


class Entry(NamedTuple):
    """One member as the archive's directory lists it."""

    name: str
    crc: int
    size_bytes: int
    offset: int


def name_problem(name: str) -> str | None:
    """Why ``name`` may not name a member; None when it may."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "is an absolute path"
    parts = name.split("/")
    if ".." in parts or "\\" in name:
        return "leads out of the bundle"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if name not in _HIDDEN and not all(_SEGMENT.fullmatch(part) for part in parts):
        return "has characters or parts that a bundle's names do not have"
    return None


def local_header(entry: Entry) -> bytes:
    """What stands before a member's bytes."""
    name = entry.name.encode("ascii")
    sizes = (entry.crc, entry.size_bytes, entry.size_bytes, len(name), 0)
    return struct.pack("<4s5H3I2H", _LOCAL, _VERSION, _UTF8, 0, _TIME, _DATE, *sizes) + name


def central_header(entry: Entry) -> bytes:
    """The member's line in the directory at the end of the archive."""
    name = entry.name.encode("ascii")
    sizes = (entry.crc, entry.size_bytes, entry.size_bytes, len(name), 0, 0, 0, 0, _MODE, entry.offset)
    return struct.pack("<4s6H3I5H2I", _CENTRAL, _MADE_BY, _VERSION, _UTF8, 0, _TIME, _DATE, *sizes) + name


def end_record(count: int, size_bytes: int, offset: int) -> bytes:
    """The last bytes of the archive."""
    return struct.pack("<4s4H2IH", _END, 0, 0, count, count, size_bytes, offset, 0)


def place(members: list[tuple[str, int, int]]) -> list[Entry]:
    """Entries for members given as (name, checksum, length), one after the other from the start of the file."""
    entries, offset = [], 0
    for name, crc, size_bytes in members:
        entries.append(Entry(name, crc, size_bytes, offset))
        offset += LOCAL_SIZE + len(name) + size_bytes
    return entries


def tail(entries: list[Entry]) -> bytes:
    """Directory and end record for ``entries``."""
    directory = b"".join(map(central_header, entries))
    last = entries[-1]
    offset = last.offset + LOCAL_SIZE + len(last.name) + last.size_bytes
    return directory + end_record(len(entries), len(directory), offset)
