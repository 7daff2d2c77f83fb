"""The seal of a finished run: where its chain ends, so that cutting lines off the end shows as well.

A seal pins the head of the journal and the hash of the whole file. A sealed run that is resumed keeps its old
seal as ``seal.<head>.json``; every seal ever given must still hold against the chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cryorepro.store.chain import EVENTS, is_being_written, iter_events, read_events
from cryorepro.store.errors import JournalError, StoreError, storage_error
from cryorepro.store.event import Event, Json, canonical_json, plain_data, sha256_hex, utc_now
from cryorepro.store.files import fsync_directory, write_atomically
from cryorepro.store.journal import Journal

SEAL = "seal.json"
SEAL_FORMAT = 1
MAX_SEAL_BYTES = 1024 * 1024
_ENDS = ("run_ended", "set_ended")


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says: the end of the journal, the status of ``run_ended`` and the run's outcome summary."""

    format: int
    status: str
    head_seq: int
    head_sha256: str
    events_sha256: str
    events_size_bytes: int
    sealed_at: str
    summary: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`verify_run` found. ``reason`` is empty exactly when the run is ``intact``."""

    intact: bool
    sealed: bool
    being_written: bool
    head_seq: int
    reason: str = ""


def seal_run(journal: Journal, status: str, summary: Mapping[str, object]) -> Seal:
    """Seal the run whose journal is open, and close it. ``status`` is that of its ``run_ended`` event.

    Raises:
        JournalError: the chain on disk is not the one that was written, or its last word is another status.
        StoreError: the seal cannot be written; the run stays unsealed and complete.
    """
    events = read_events(journal.directory)
    head = journal.head
    if not events or (events[-1].seq, events[-1].sha256) != (head.seq, head.sha256):
        raise JournalError(f"{journal.path} does not end where this process stopped writing")
    if _final_status(events) != status:
        raise JournalError(f"{journal.path} does not say that the run ended as {status}")
    digest, _ = _hash_prefix(journal.path, head.size_bytes)
    plain = plain_data(summary, "summary")
    seal = Seal(SEAL_FORMAT, status, head.seq, head.sha256, digest, head.size_bytes, utc_now(), plain)
    body: dict[str, object] = asdict(seal)
    content = canonical_json({**body, "sha256": sha256_hex(canonical_json(body))})
    write_atomically(journal.directory / SEAL, content + b"\n")
    journal.close()
    return seal


def reopen_run(directory: Path) -> Journal:
    """Open a run to continue it. A sealed run is verified, its seal kept aside and the reopening recorded.

    Raises:
        RunLockedError, JournalError, StoreError: as :meth:`Journal.open`, or the seal does not hold.
    """
    if not (directory / SEAL).exists():
        return Journal.open(directory)
    found = verify_run(directory)
    if not found.intact:
        raise JournalError(found.reason)
    seal = read_seal(directory / SEAL)
    try:
        (directory / SEAL).rename(directory / f"seal.{seal.head_seq}.json")
        fsync_directory(directory)
    except OSError as error:
        raise storage_error("reopen", directory / SEAL, error) from error
    journal = Journal.open(directory)
    journal.append("run_reopened", {"head_seq": seal.head_seq, "status": seal.status})
    return journal


def read_seal(path: Path) -> Seal:
    """Read a seal strictly.

    Raises:
        JournalError: it is not what :func:`seal_run` wrote.
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SEAL_BYTES + 1)
    except OSError as error:
        raise storage_error("read", path, error) from error
    try:
        record = json.loads(content)
        exact = canonical_json(record) + b"\n" == content
        digest = record.pop("sha256")
        seal = Seal(**record)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise JournalError(f"{path} is not a seal") from error
    if not exact or digest != sha256_hex(canonical_json(record)) or seal.format != SEAL_FORMAT:
        raise JournalError(f"{path} is not the seal that was written")
    return seal


def read_run(directory: Path) -> tuple[list[Event], bool]:
    """All events of a run and whether it is sealed, the chain and every seal verified.

    Raises:
        JournalError: the chain or a seal does not hold.
        StoreError: a file cannot be read.
    """
    sealed = (directory / SEAL).exists()
    events = read_events(directory)
    _check_seals(directory, [event.sha256 for event in events], _final_status(events))
    return events, sealed


def verify_run(directory: Path) -> Verification:
    """Check a run's chain, and every seal it has against the chain. Never raises on what is on disk.

    An unsealed run (alive, or killed) is intact when its chain holds.
    """
    sealed = (directory / SEAL).exists()
    head_seq = 0
    try:
        alive = is_being_written(directory)
        hashes: list[str] = []
        last: Event | None = None
        for event in iter_events(directory):
            hashes.append(event.sha256)
            head_seq, last = event.seq, event if event.type in _ENDS else last
        _check_seals(directory, hashes, "" if last is None else str(last.data.get("status", "")))
    except StoreError as error:
        return Verification(False, sealed, False, head_seq, str(error))
    return Verification(True, sealed, alive, head_seq)


def _check_seals(directory: Path, hashes: list[str], status: str) -> None:
    events = directory / EVENTS
    for path in sorted(directory.glob("seal*.json")):
        seal = read_seal(path)
        if not 1 <= seal.head_seq <= len(hashes) or hashes[seal.head_seq - 1] != seal.head_sha256:
            raise JournalError(f"{events} does not contain the end that {path.name} pins")
        digest, whole = _hash_prefix(events, seal.events_size_bytes)
        if digest != seal.events_sha256 or (path.name == SEAL and not whole):
            raise JournalError(f"{events} is not the file that {path.name} was given for")
        if path.name == SEAL and seal.status != status:
            raise JournalError(f"{path} says {seal.status} and the journal {status or 'nothing'}")


def _hash_prefix(path: Path, size_bytes: int) -> tuple[str, bool]:
    """SHA-256 of the first ``size_bytes`` of a file, and whether that is all of it."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            left = size_bytes
            while left > 0 and (block := stream.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
            return digest.hexdigest(), left == 0 and not stream.read(1)
    except OSError as error:
        raise storage_error("read", path, error) from error


def _final_status(events: list[Event]) -> str:
    ends = [event for event in events if event.type in _ENDS]
    return str(ends[-1].data.get("status", "")) if ends else ""
