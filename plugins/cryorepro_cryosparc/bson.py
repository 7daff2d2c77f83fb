"""BSON, the documents of MongoDB's dumps (bsonspec.org, version 1.1), read strictly and with bounds.

Only what an event log holds: numbers, texts, times, identifiers, nested documents. Code, regular expressions and other
rarities are refused, because nothing that CryoSPARC writes has them. The driver of MongoDB, which has a reader, is a
large dependency for one file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

DEEPEST = 40
MOST_FIELDS = 100_000
LARGEST_DOCUMENT = 64 * 1024**2


class NotBson(ValueError):
    """The bytes are not BSON, in words that follow "document N: "."""


def documents(content: bytes) -> Iterator[dict[str, Any]]:
    """The documents of a dump, one after the other. Times are milliseconds since 1970, as ``{"$date": ms}``.

    Raises:
        NotBson: they are not, or are nested too deep or too large.
    """
    place, number = 0, 0
    while place < len(content):
        number += 1
        try:
            document, place = _document(content, place, len(content), 0)
        except (struct.error, UnicodeDecodeError, IndexError, NotBson) as error:
            raise NotBson(f"document {number}: {error}") from error
        yield document


def _document(content: bytes, start: int, limit: int, depth: int) -> tuple[dict[str, Any], int]:
    if depth > DEEPEST:
        raise NotBson(f"nested deeper than {DEEPEST} levels")
    (size,) = struct.unpack_from("<i", content, start)
    end = start + size
    if size < 5 or size > LARGEST_DOCUMENT or end > limit or content[end - 1] != 0:
        raise NotBson("its length does not fit")
    found: dict[str, Any] = {}
    place = start + 4
    while place < end - 1:
        kind = content[place]
        name, place = _cstring(content, place + 1, end)
        found[name], place = _value(content, kind, place, end, depth)
        if len(found) > MOST_FIELDS or place > end - 1:
            raise NotBson("a field does not fit")
    return found, end


def _cstring(content: bytes, start: int, end: int) -> tuple[str, int]:
    stop = content.find(b"\0", start, end)
    if stop < 0:
        raise NotBson("a name does not end")
    return content[start:stop].decode("utf-8"), stop + 1


def _value(content: bytes, kind: int, place: int, end: int, depth: int) -> tuple[Any, int]:
    if kind in (0x03, 0x04):
        inner, after = _document(content, place, end, depth + 1)
        return (inner if kind == 0x03 else list(inner.values())), after
    if kind == 0x02:
        return _string(content, place, end)
    if kind == 0x05:  # binary: its length is all that is kept
        (size,) = struct.unpack_from("<i", content, place)
        return {"$binary": size}, _within(place + 5, size, end)
    return _scalar(content, kind, place)


def _string(content: bytes, place: int, end: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<i", content, place)
    after = _within(place + 4, size, end)
    if size < 1 or content[after - 1] != 0:
        raise NotBson("a text does not end")
    return content[place + 4 : after - 1].decode("utf-8"), after


def _within(start: int, size: int, end: int) -> int:
    if size < 0 or start + size > end:
        raise NotBson("a value's length does not fit")
    return start + size


def _scalar(content: bytes, kind: int, place: int) -> tuple[Any, int]:
    if kind == 0x01:
        (number,) = struct.unpack_from("<d", content, place)
        return (number if math.isfinite(number) else None), place + 8
    if kind == 0x07:
        return {"$oid": content[place : place + 12].hex()}, place + 12
    if kind == 0x08:
        return bool(content[place]), place + 1
    if kind == 0x09:
        return {"$date": struct.unpack_from("<q", content, place)[0]}, place + 8
    if kind in (0x06, 0x0A):
        return None, place
    if kind == 0x10:
        return struct.unpack_from("<i", content, place)[0], place + 4
    if kind in (0x11, 0x12):
        return struct.unpack_from("<q", content, place)[0], place + 8
    raise NotBson(f"a value of type 0x{kind:02x}, which an event log does not hold")
