"""The event log of a job: ``events.bson`` of a project, or the log as JSON. What it says of time, memory and faults."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro_cryosparc.bson import NotBson, documents
from cryorepro_cryosparc.mongo import instant, shown

NAMES = ("events.bson", "events.json", "streamlog.json")
LARGEST_BYTES = 512 * 1024**2
MOST_EVENTS = 1_000_000
_TOLD = 5


@dataclass(frozen=True)
class EventLog:
    """A log in short: how many events, the first's and last's time, the largest memory seen, warnings and errors."""

    count: int
    first: datetime | None
    last: datetime | None
    peak_memory_bytes: int | None
    warnings: tuple[str, ...]
    errors: tuple[str, ...]


def read_events(path: Path) -> dict[str, EventLog]:
    """The logs in a file by the job they belong to ('' where events name none).

    Raises:
        InputError: it is too large, or not a log.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"{path}: larger than the {LARGEST_BYTES:,} bytes an event log may have")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    found: dict[str, list[dict[str, Any]]] = {}
    for number, event in enumerate(_events(path, content), 1):
        if number > MOST_EVENTS:
            raise InputError(f"{path}: more than {MOST_EVENTS:,} events")
        found.setdefault(str(event.get("job_uid") or ""), []).append(event)
    return {job: _summary(events) for job, events in found.items()}


def _events(path: Path, content: bytes) -> Iterable[dict[str, Any]]:
    if path.suffix == ".bson":
        try:
            yield from documents(content)
        except NotBson as error:
            raise InputError(f"{path}: not an event log ({error})") from error
        return
    try:
        listed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not an event log (no JSON)") from error
    if not isinstance(listed, list) or not all(isinstance(event, dict) for event in listed):
        raise InputError(f"{path}: not an event log (no list of events)")
    yield from listed


def _summary(events: list[dict[str, Any]]) -> EventLog:
    times = [moment for moment in (instant(event.get("created_at")) for event in events) if moment is not None]
    sizes = [event.get("cpumem_mb") for event in events]
    memory = [float(size) for size in sizes if isinstance(size, int | float) and 0 <= size < 1e9]
    return EventLog(
        len(events),
        min(times, default=None),
        max(times, default=None),
        int(max(memory) * 1024**2) if memory else None,
        _texts(events, "warning"),
        _texts(events, "error"),
    )


def _texts(events: list[dict[str, Any]], kind: str) -> tuple[str, ...]:
    texts = (shown(event.get("text", ""), 300) for event in events if event.get("type") == kind)
    return tuple(dict.fromkeys(text for text in texts if text))[-_TOLD:]
