"""One journal line: its canonical form, its hash, and the strict way back.

A line is the canonical JSON of the event (sorted keys, no spaces, ASCII, no NaN). ``sha256`` is taken over
the canonical JSON of everything else, ``prev`` among it, so that each line fixes all lines before it. A line
that is not byte for byte its own canonical form is refused: otherwise white space could change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from cryorepro.store.errors import EventError, JournalError

GENESIS = "0" * 64
"""``prev`` of the first event of a journal."""

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longest line written or read: a bound on the memory that a foreign journal can claim."""

MAX_DEPTH = 32

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"


@dataclass(frozen=True, slots=True)
class Event:
    """One acknowledged line of a journal. ``time`` is UTC, ISO 8601 with microseconds."""

    seq: int
    prev: str
    time: str
    monotonic_ns: int
    type: str
    data: dict[str, Json]
    sha256: str


_FIELDS: dict[str, type] = {
    "seq": int, "prev": str, "time": str, "monotonic_ns": int, "type": str, "data": dict, "sha256": str,
}  # fmt: skip


def canonical_json(value: object) -> bytes:
    """Canonical JSON bytes of a plain value.

    Raises:
        ValueError: NaN, infinity, or an object JSON does not know.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def sha256_hex(content: bytes) -> str:
    """Lower-case hexadecimal SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def utc_now() -> str:
    """Now, as ``2026-11-20T11:15:05.123456Z``."""
    return iso_utc(datetime.now(UTC))


def iso_utc(moment: datetime) -> str:
    """A moment in UTC, with microseconds always there so that texts sort by time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def plain_data(value: Mapping[str, object], where: str = "data") -> dict[str, Json]:
    """A deep copy of an event's payload in plain JSON types; tuples become lists.

    Raises:
        EventError: NaN or infinity, a key that is no string, an object JSON does not know; names the key.
    """
    return _plain_mapping(value, where, 0)


def make_event(seq: int, prev: str, kind: str, data: Mapping[str, object]) -> tuple[Event, bytes]:
    """The event that follows the one with hash ``prev``, and its line with the newline.

    Raises:
        EventError: the payload cannot be kept, or the line is longer than ``MAX_LINE_BYTES``.
    """
    body: dict[str, Json] = {
        "seq": seq, "prev": prev, "time": utc_now(), "monotonic_ns": time.monotonic_ns(), "type": kind,
        "data": plain_data(data),
    }  # fmt: skip
    digest = sha256_hex(canonical_json(body))
    line = canonical_json({**body, "sha256": digest}) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise EventError(f"event {kind} takes {len(line)} bytes, and a line may take {MAX_LINE_BYTES}")
    return _event_of({**body, "sha256": digest}), line


def parse_line(line: bytes, seq: int, prev: str) -> Event:
    """Read one line (without its newline) as the event ``seq`` that follows hash ``prev``.

    Raises:
        JournalError: it is not that event, in the words that follow "line N: ".
    """
    if len(line) > MAX_LINE_BYTES:
        raise JournalError("longer than a journal line may be")
    try:
        record = json.loads(line)
        same = canonical_json(record) == line
    except (ValueError, RecursionError) as error:
        raise JournalError("not a JSON object") from error
    if not isinstance(record, dict) or set(record) != set(_FIELDS):
        raise JournalError("not an event record")
    if not same or any(type(record[name]) is not kind for name, kind in _FIELDS.items()):
        raise JournalError("not in the form it was written in")
    if record["seq"] != seq or record["prev"] != prev:
        raise JournalError("does not follow the line before it")
    body = {name: item for name, item in record.items() if name != "sha256"}
    if sha256_hex(canonical_json(body)) != record["sha256"]:
        raise JournalError("does not match its own hash")
    return _event_of(record)


def _event_of(record: dict[str, Json]) -> Event:
    return Event(**{name: record[name] for name in _FIELDS})  # type: ignore[arg-type]


def _plain_mapping(value: Mapping[Any, object], where: str, depth: int) -> dict[str, Json]:
    plain: dict[str, Json] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise EventError(f"{where} has the key {key!r}, and a journal keeps only text keys")
        plain[str.__str__(key)] = _plain(item, f"{where}.{key}", depth + 1)
    return plain


def _plain(value: object, where: str, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise EventError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool | int | str):
        # Subclasses (enums, numpy strings) are reduced to the plain value that will be read back.
        return value if value is None or isinstance(value, bool) else _base(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EventError(f"{where} is {value}, and a journal keeps only finite numbers")
        return float(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where, depth)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise EventError(f"{where} is a {type(value).__name__}, which a journal cannot keep")


def _base(value: int | str) -> int | str:
    return str.__str__(value) if isinstance(value, str) else int(value)
