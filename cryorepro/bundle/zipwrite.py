"""Writes a bundle's archive: README first, then the other members by name."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryorepro.bundle.layout import README
from cryorepro.bundle.zipform import LARGEST_ARCHIVE_BYTES, local_header, name_problem, place, tail
from cryorepro.em.errors import InputError

_BLOCK = 1 << 20
Content = bytes | Path
"""A member: its bytes, or the file that holds them."""


def member_order(names: list[str]) -> list[str]:
    """README first, for whoever lists the archive; the rest by name."""
    return sorted(names, key=lambda name: (name != README, name))


def write_archive(destination: Path, members: Mapping[str, Content]) -> None:
    """Write ``members`` to ``destination``; the same members give the same bytes anywhere.

    Raises:
        InputError: ``destination`` exists, a name is not allowed, or the archive would be too large.
        OSError: it cannot be written; nothing is left behind.
    """
    for name in members:
        problem = name_problem(name)
        if problem:
            raise InputError(f"{destination}: the member '{name}' {problem}")
    names = member_order(list(members))
    entries = place([(name, *_measure(members[name])) for name in names])
    end = tail(entries)
    last = entries[-1]
    if last.offset + last.size_bytes + len(end) > LARGEST_ARCHIVE_BYTES:
        raise InputError(f"{destination}: more than 4 GB; choose fewer outputs")
    try:
        stream = destination.open("xb")
    except FileExistsError as error:
        raise InputError(f"{destination}: exists already") from error
    try:
        with stream:
            for entry in entries:
                stream.write(local_header(entry))
                for block in _blocks(members[entry.name]):
                    stream.write(block)
            stream.write(end)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        destination.unlink(missing_ok=True)
        raise


def _measure(content: Content) -> tuple[int, int]:
    crc = size = 0
    for block in _blocks(content):
        crc, size = zlib.crc32(block, crc), size + len(block)
    return crc, size


def _blocks(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block
