"""Reads a bundle's archive without believing it: nothing is extracted, and sizes are known before memory is taken."""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cryorepro.bundle.layout import README
from cryorepro.bundle.zipform import (
    CENTRAL_SIZE,
    END_SIZE,
    LARGEST_ARCHIVE_BYTES,
    LONGEST_NAME,
    MAXIMUM_MEMBERS,
    Entry,
    local_header,
    name_problem,
    place,
    tail,
)  # fmt: skip
from cryorepro.bundle.zipwrite import member_order
from cryorepro.em.errors import InputError

LARGEST_TEXT_BYTES = 64 * 2**20
_BLOCK = 1 << 20
_STORED, _ENCRYPTED = 0, 1


class Archive:
    """An open bundle. Its directory has been checked; a member's checksum is checked when it is read."""

    def __init__(self, path: Path, stream: BinaryIO, entries: list[Entry]) -> None:
        self.path = path
        self._stream = stream
        self.entries = {entry.name: entry for entry in entries}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open ``path`` and check the form of the archive, without reading a member.

        Raises:
            InputError: it is no bundle's archive; one sentence says why.
        """
        try:
            stream = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            return cls(path, stream, _entries(path, stream))
        except BaseException:
            stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stream.close()

    def blocks(self, name: str) -> Iterator[bytes]:
        """The member's bytes, a megabyte at a time.

        Raises:
            InputError: there is no such member, or its bytes do not have the checksum that the archive gives.
        """
        if name not in self.entries:
            raise InputError(f"{self.path}: the member '{name}' is missing")
        entry = self.entries[name]
        self._stream.seek(entry.offset + len(local_header(entry)))
        left, crc = entry.size_bytes, 0
        while left:
            block = self._stream.read(min(left, _BLOCK))
            if not block:
                raise InputError(f"{self.path}: the file ends inside the member '{name}'")
            left, crc = left - len(block), zlib.crc32(block, crc)
            yield block
        if crc != entry.crc:
            raise InputError(f"{self.path}: the member '{name}' is damaged (its checksum does not fit)")

    def read(self, name: str, largest_bytes: int = LARGEST_TEXT_BYTES) -> bytes:
        """The whole member.

        Raises:
            InputError: as :meth:`blocks`, or it is larger than ``largest_bytes``.
        """
        entry = self.entries.get(name)
        if entry is not None and entry.size_bytes > largest_bytes:
            raise InputError(f"{self.path}: the member '{name}' has {entry.size_bytes:,} bytes, more than it may have")
        return b"".join(self.blocks(name))

    def sha256(self, name: str) -> str:
        """Hex digest of the member; errors as :meth:`blocks`."""
        digest = hashlib.sha256()
        for block in self.blocks(name):
            digest.update(block)
        return digest.hexdigest()


def _entries(path: Path, stream: BinaryIO) -> list[Entry]:
    length = stream.seek(0, 2)
    if length < END_SIZE or length > LARGEST_ARCHIVE_BYTES:
        raise InputError(f"{path}: {length:,} bytes are no bundle")
    stream.seek(length - END_SIZE)
    end = stream.read(END_SIZE)
    signature, *counts, size_bytes, offset, comment = struct.unpack("<4s4H2IH", end)
    if signature != b"PK\x05\x06" or comment:
        raise InputError(f"{path}: not a bundle (it is no zip archive, or something follows the archive)")
    count = counts[-1]
    if not 0 < count <= MAXIMUM_MEMBERS or size_bytes > count * (CENTRAL_SIZE + LONGEST_NAME + 1024):
        raise InputError(f"{path}: {count} members in a directory of {size_bytes:,} bytes are no bundle")
    if offset + size_bytes + END_SIZE != length:
        raise InputError(f"{path}: not a bundle (its directory is not where the archive says)")
    stream.seek(offset)
    directory = stream.read(size_bytes)
    listed = _parse(path, directory, count)
    _check_names(path, listed)
    _check_form(path, stream, listed, directory + end)
    return listed


def _parse(path: Path, directory: bytes, count: int) -> list[Entry]:
    """The directory's lines; whatever makes a member something else than plain bytes is refused by name."""
    entries, at = [], 0
    for _ in range(count):
        if directory[at : at + 4] != b"PK\x01\x02" or len(directory) < at + CENTRAL_SIZE:
            raise InputError(f"{path}: the archive's directory is damaged")
        fields = struct.unpack("<4s6H3I5H2I", directory[at : at + CENTRAL_SIZE])
        flags, method, crc, packed, size, lengths = fields[3], fields[4], fields[7], fields[8], fields[9], fields[10:13]
        attributes, offset = fields[15], fields[16]
        raw = directory[at + CENTRAL_SIZE : at + CENTRAL_SIZE + lengths[0]]
        name = raw.decode("utf-8", "backslashreplace")
        problem = name_problem(name) or _kind_problem(attributes >> 16, flags, method, packed, size)
        if problem:
            raise InputError(f"{path}: the member {name[:LONGEST_NAME]!r} {problem}")
        entries.append(Entry(name, crc, size, offset))
        at += CENTRAL_SIZE + sum(lengths)
    if at != len(directory):
        raise InputError(f"{path}: the archive's directory is damaged")
    return entries


def _kind_problem(mode: int, flags: int, method: int, packed: int, size: int) -> str | None:
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is not a plain file"
    if flags & _ENCRYPTED:
        return "is encrypted"
    if method != _STORED:
        return (
            f"is compressed ({packed:,} bytes would become {size:,}); a bundle stores its members as they are, so that "
            "nothing grows when it is opened"
        )
    return None


def _check_names(path: Path, entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name.lower() in seen:
            raise InputError(
                f"{path}: the member '{entry.name}' is there twice (names that differ in case count as one)"
            )
        seen.add(entry.name.lower())
    for entry in entries:
        parts = entry.name.lower().split("/")
        if any("/".join(parts[:depth]) in seen for depth in range(1, len(parts))):
            raise InputError(f"{path}: the member '{entry.name}' lies below another member")


def _check_form(path: Path, stream: BinaryIO, entries: list[Entry], end: bytes) -> None:
    """Hold every byte of the headers to what it must be; only the members' own bytes remain free."""
    names = [entry.name for entry in entries]
    must_be = place([(entry.name, entry.crc, entry.size_bytes) for entry in entries])
    if entries != must_be:
        raise InputError(f"{path}: members overlap, or something stands between them")
    if names[0] != README or names != member_order(names):
        raise InputError(f"{path}: the members are not in the order export writes: {README} first, the rest by name")
    if tail(must_be) != end:
        raise InputError(f"{path}: the archive's directory is not the one that export writes for these members")
    for entry in must_be:
        header = local_header(entry)
        stream.seek(entry.offset)
        if stream.read(len(header)) != header:
            raise InputError(f"{path}: the header before the member '{entry.name}' is not the one export writes")
