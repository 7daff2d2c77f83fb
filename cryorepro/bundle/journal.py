"""The journal as it leaves: redacted, chained anew, and tied event by event to the chain of the original.

``events.jsonl`` and ``seal.json`` are a journal like any other, so every reader of journals can read them.
``original.json`` holds the hash of each original event. An event from which nothing was taken still has its
original hash, which anyone can compute; one that was redacted is held by its place in the chain, and by whoever
keeps the original.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryorepro.bundle.allowed import allowed_data
from cryorepro.bundle.privacy import Scrubber
from cryorepro.bundle.strict_json import parse_json, render_json
from cryorepro.em.errors import InputError
from cryorepro.store.chain import EVENTS
from cryorepro.store.errors import JournalError
from cryorepro.store.event import GENESIS, Event, canonical_json, parse_line, sha256_hex
from cryorepro.store.seal import SEAL, Seal, read_run, read_seal

_KEYS = {"events", "events_sha256", "head_seq", "head_sha256", "sealed_at"}


@dataclass(frozen=True)
class Journals:
    """The three members that carry a journal."""

    events: bytes
    seal: bytes
    original: bytes


def redact_journal(run: Path, scrubber: Scrubber) -> Journals:
    """The journal of a finished run, ready to leave.

    Raises:
        InputError: the run has not been sealed.
        StoreError: its chain does not hold.
    """
    events, sealed = read_run(run)
    if not sealed:
        raise InputError(f"{run.name}: the run has not ended; only a finished run can be exported")
    seal = read_seal(run / SEAL)
    lines, listed, previous = [], [], GENESIS
    for event in events:
        data = scrubber.value(allowed_data(event.type, event.data))
        body = _body(event, previous, data)
        previous = sha256_hex(canonical_json(body))
        lines.append(canonical_json({**body, "sha256": previous}) + b"\n")
        listed.append({"sha256": event.sha256, "redacted": data != event.data})
    content = b"".join(lines)
    return Journals(content, _seal(seal, content, previous, len(events), scrubber), render_json({
        "events": listed,
        "events_sha256": seal.events_sha256,
        "head_seq": seal.head_seq,
        "head_sha256": seal.head_sha256,
        "sealed_at": seal.sealed_at,
    }))  # fmt: skip


def _body(event: Event, previous: str, data: Any) -> dict[str, Any]:
    return {
        "seq": event.seq, "prev": previous, "time": event.time, "monotonic_ns": event.monotonic_ns,
        "type": event.type, "data": data,
    }  # fmt: skip


def _seal(original: Seal, content: bytes, head: str, count: int, scrubber: Scrubber) -> bytes:
    changed = {
        "head_seq": count, "head_sha256": head, "events_sha256": sha256_hex(content),
        "events_size_bytes": len(content), "summary": scrubber.value(original.summary),
    }  # fmt: skip
    body = {**asdict(original), **changed}
    return canonical_json({**body, "sha256": sha256_hex(canonical_json(body))}) + b"\n"


def lay_out(journals: Journals, directory: Path) -> None:
    """Write the journal into ``directory`` under the names that readers of journals expect."""
    (directory / EVENTS).write_bytes(journals.events)
    (directory / SEAL).write_bytes(journals.seal)


def parse_events(content: bytes) -> list[Event]:
    """All events of a journal's text, the chain verified.

    Raises:
        JournalError: it does not hold; names the line.
    """
    if not content.endswith(b"\n"):
        raise JournalError("the journal ends inside a line")
    events, previous = [], GENESIS
    for number, line in enumerate(content[:-1].split(b"\n"), 1):
        try:
            events.append(parse_line(line, number, previous))
        except JournalError as error:
            raise JournalError(f"line {number}: {error}") from error
        previous = events[-1].sha256
    return events


def hold_to_original(events: list[Event], original: bytes) -> int:
    """Hold every event to the original chain; returns how many events were redacted.

    Raises:
        InputError: an event, or the end of the chain, is not the original's.
    """
    record = parse_json(original, "journal/original.json")
    if not isinstance(record, dict) or set(record) != _KEYS or not isinstance(record["events"], list):
        raise InputError("journal/original.json: not the list of original hashes")
    listed = record["events"]
    if len(listed) != len(events) or record["head_seq"] != len(events):
        raise InputError("journal/original.json: lists another number of events than the journal has")
    previous, redacted = GENESIS, 0
    for event, row in zip(events, listed, strict=True):
        if not isinstance(row, dict) or set(row) != {"redacted", "sha256"} or type(row["redacted"]) is not bool:
            raise InputError(f"journal/original.json: event {event.seq} is not listed as it must be")
        digest = sha256_hex(canonical_json(_body(event, previous, event.data)))
        if not row["redacted"] and digest != row["sha256"]:
            raise InputError(f"journal: event {event.seq} ({event.type}) is not the one that was first recorded")
        redacted += row["redacted"]
        previous = row["sha256"]
    if record["head_sha256"] != previous:
        raise InputError("journal: the chain does not end at the head that the run's seal pinned")
    return redacted
