"""Writes a bundle's archive: README first, then the other members by name."""

from __future__ import annotations

import contextlib
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
        InputError: ``destination`` exists or cannot be written, a name is not allowed, or the archive would be too
            large; nothing is left behind.
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
    draft = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as stream:
            for entry in entries:
                stream.write(local_header(entry))
                for block in _blocks(members[entry.name]):
                    stream.write(block)
            stream.write(end)
            stream.flush()
            os.fsync(stream.fileno())
        _publish(draft, destination)
    except FileExistsError as error:
        raise InputError(f"{destination}: exists already") from error
    except OSError as error:
        raise InputError(f"{destination}: cannot be written ({error.strerror}); nothing was left behind") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _publish(draft: Path, destination: Path) -> None:
    """Give the finished draft its name; a name that is taken is never taken over, and half an archive never has it."""
    try:
        os.link(draft, destination)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        destination.open("xb").close()
        draft.replace(destination)


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
