"""The smallest BigTIFF container: pictures whose compressed bytes are given, each with its own directory.

tifffile writes no file whose codec it cannot encode, and electron events are such a codec. Layout: BigTIFF,
https://www.awaresystems.be/imaging/tiff/bigtiff.html (64-bit offsets, directories of 20-byte entries).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO

SHORT, LONG, UNDEFINED, LONG8 = 3, 4, 7, 16
_FORMATS = {SHORT: "H", LONG: "I", LONG8: "Q"}
_INLINE_BYTES = 8


@dataclass(frozen=True)
class Picture:
    """One picture: its compressed bytes, and the tags (number, type, value) that are not about where they lie."""

    strip: bytes
    tags: Sequence[tuple[int, int, int | bytes]]


def write_pictures(stream: IO[bytes], pictures: Iterable[Picture]) -> int:
    """Write a little-endian BigTIFF file; returns how many pictures there were."""
    stream.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
    pointer, count = 8, 0
    for picture in pictures:
        strip_at = _append(stream, picture.strip)
        tags = [*picture.tags, (273, LONG8, strip_at), (279, LONG8, len(picture.strip))]
        entries = b"".join(_entry(stream, *tag) for tag in sorted(tags, key=lambda tag: tag[0]))
        directory_at = _append(stream, struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0))
        _patch(stream, pointer, directory_at)
        pointer, count = directory_at + 8 + len(entries), count + 1
    return count


def _entry(stream: IO[bytes], number: int, kind: int, value: int | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else struct.pack(f"<{_FORMATS[kind]}", value)
    length = len(raw) if isinstance(value, bytes) else 1
    if len(raw) > _INLINE_BYTES:
        raw = struct.pack("<Q", _append(stream, raw))
    return struct.pack("<HHQ", number, kind, length) + raw.ljust(_INLINE_BYTES, b"\0")


def _append(stream: IO[bytes], raw: bytes) -> int:
    """Write at the end, on an even byte; returns where."""
    end = stream.seek(0, 2)
    stream.write(b"\0" * (end % 2) + raw)
    return end + end % 2


def _patch(stream: IO[bytes], where: int, offset: int) -> None:
    stream.seek(where)
    stream.write(struct.pack("<Q", offset))
