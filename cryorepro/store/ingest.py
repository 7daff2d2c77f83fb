"""From journals to the index: idempotent, run by run, and safe with any number of processes at once."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryorepro.store.chain import EVENTS
from cryorepro.store.errors import JournalError, StoreError, describe, storage_error
from cryorepro.store.event import Event
from cryorepro.store.files import is_file
from cryorepro.store.home import Home
from cryorepro.store.index import DamagedIndexError, Index
from cryorepro.store.projection import Rows, project, unverifiable
from cryorepro.store.schema import TABLES
from cryorepro.store.seal import read_run
from cryorepro.store.sets import ingest_sets

PROJECTION_VERSION = 1
"""Raised when the meaning of events changes; every journal is then read again."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What one pass did, as run identifiers."""

    read: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    unverifiable: tuple[str, ...]


def ingest(index: Index, run_uids: Iterable[str] | None = None) -> IngestReport:
    """Fold every journal that changed (or those named) into the index, each in its own transaction.

    A run that cannot be verified is indexed as such and stops no other.

    Raises:
        StoreError: the index cannot be written, or the runs cannot be listed.
    """
    wanted = list(index.home.run_uids() if run_uids is None else run_uids)
    read: list[str] = []
    unchanged: list[str] = []
    for run_uid in wanted:
        (read if ingest_run(index, run_uid) else unchanged).append(run_uid)
    removed = _remove_missing(index) if run_uids is None else []
    ingest_sets(index)
    return IngestReport(tuple(read), tuple(unchanged), tuple(removed), _unverifiable_runs(index))


def ingest_run(index: Index, run_uid: str) -> bool:
    """Fold one run in. False when its files are those that the index has already read, or are gone.

    Raises:
        StoreError: the index cannot be written.
    """
    directory = index.home.runs / run_uid
    if not is_file(directory / EVENTS) or _seen_stamp(index, run_uid) == _stamp(directory):
        return False
    with index.transaction():
        # Asked again under the lock: of several processes at once, one reads and the others see that it did.
        stamp = _stamp(directory)
        if _seen_stamp(index, run_uid) == stamp:
            return False
        _fold(index, directory, stamp)
    return True


def rebuild(home: Home) -> IngestReport:
    """Make the index anew from the journals alone, in one transaction; a damaged file is moved aside first.

    What the index has seen of each journal's end is kept, so that lines cut off since still show.

    Raises:
        StoreError: the index cannot be written, or belongs to a newer version or another program.
    """
    try:
        return _rebuild_in_place(home)
    except DamagedIndexError:
        _move_aside(home.index)
        return _rebuild_in_place(home)


def open_for_reading(home: Home) -> Index:
    """The index, brought up to date. Where it may not be written, an index in memory made from the journals.

    Raises:
        StoreError: the runs cannot be listed, or the index is damaged, a newer version's or on a network.
    """
    index = Index.open(home) if _writable(home.index) else Index.in_memory(home)
    try:
        ingest(index)
    except BaseException:
        index.close()
        raise
    return index


def _rebuild_in_place(home: Home) -> IngestReport:
    with Index.open(home) as index:
        damage = index.query("PRAGMA integrity_check(1)")[0]["integrity_check"]
        if damage != "ok":
            raise DamagedIndexError(f"the index {home.index} is damaged: {damage}")
        with index.transaction() as db:
            db.execute("DELETE FROM runs")
            db.execute("DELETE FROM sets")
            run_uids = home.run_uids()
            for run_uid in run_uids:
                _fold(index, home.runs / run_uid, _stamp(home.runs / run_uid))
        ingest_sets(index)
        return IngestReport(tuple(run_uids), (), (), _unverifiable_runs(index))


def _move_aside(path: Path) -> None:
    mark = f".damaged-{time.time_ns()}"
    try:
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(path.with_name(path.name + mark + suffix))
    except OSError as error:
        raise storage_error("move aside the damaged", path, error) from error


def _fold(index: Index, directory: Path, stamp: str) -> None:
    """Replace everything the index says about one run. Call inside a transaction."""
    run_uid = directory.name
    try:
        rows = _rows_of(index, directory)
    except JournalError as error:
        rows = unverifiable(run_uid, str(error))
    except StoreError as error:
        rows, stamp = unverifiable(run_uid, str(error)), ""  # it may be readable the next time
    try:
        _replace(index, run_uid, rows)
    except sqlite3.IntegrityError as error:
        _replace(index, run_uid, unverifiable(run_uid, f"{directory / EVENTS} contradicts itself: {error}"))
    _remember(index, rows["runs"][0], stamp)


def _rows_of(index: Index, directory: Path) -> Rows:
    events, sealed = read_run(directory)
    _check_against_seen(index, directory, events)
    return project(directory.name, events, sealed)


def _check_against_seen(index: Index, directory: Path, events: list[Event]) -> None:
    """An index is also a place where the end of a journal was written down: hold the journal to it."""
    for row in index.db.query("SELECT head_seq, head_sha256 FROM journals WHERE run_uid = ?", [directory.name]):
        seq = row["head_seq"]
        if seq and (len(events) < seq or events[seq - 1].sha256 != row["head_sha256"]):
            raise JournalError(f"{directory / EVENTS} no longer holds the event {seq} that the index has seen")


def _replace(index: Index, run_uid: str, rows: Rows) -> None:
    # The rows of all other tables go with the run's: they refer to it with ON DELETE CASCADE.
    with index.db.atomic():
        index.db.execute("DELETE FROM runs WHERE run_uid = ?", [run_uid])
        for table in TABLES:
            for row in rows.get(table, ()):
                names = ", ".join(f'"{name}"' for name in row)
                marks = ", ".join("?" * len(row))
                index.db.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', list(row.values()))


def _remember(index: Index, run: dict[str, None | int | float | str], stamp: str) -> None:
    index.db.execute(
        "INSERT INTO journals (run_uid, head_seq, head_sha256, stamp) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (run_uid) DO UPDATE SET stamp = excluded.stamp, "
        "head_sha256 = iif(excluded.head_seq > head_seq, excluded.head_sha256, head_sha256), "
        "head_seq = max(head_seq, excluded.head_seq)",
        [run["run_uid"], run["head_seq"], run["head_sha256"], stamp],
    )


def _seen_stamp(index: Index, run_uid: str) -> str | None:
    found = index.query("SELECT stamp FROM journals WHERE run_uid = ?", run_uid)
    return str(found[0]["stamp"]) if found else None


def _stamp(directory: Path) -> str:
    """Changes whenever a run's journal or seals may have changed."""
    parts = [str(PROJECTION_VERSION)]
    try:
        for path in [directory / EVENTS, *sorted(directory.glob("seal*.json"))]:
            found = path.stat()
            parts.append(f"{path.name}:{found.st_size}:{found.st_mtime_ns}:{found.st_ino}")
    except OSError as error:
        parts.append(describe(error))
    return " ".join(parts)


def _remove_missing(index: Index) -> list[str]:
    """Forget the runs whose journals were deleted: the index says what the journals say."""
    known = [row["run_uid"] for row in index.query("SELECT run_uid FROM runs ORDER BY run_uid")]
    gone = [run_uid for run_uid in known if not is_file(index.home.runs / run_uid / EVENTS)]
    if not gone:
        return []
    with index.transaction() as db:
        for run_uid in gone:
            db.execute("DELETE FROM runs WHERE run_uid = ?", [run_uid])
            db.execute("UPDATE journals SET stamp = '' WHERE run_uid = ?", [run_uid])
    return gone


def _unverifiable_runs(index: Index) -> tuple[str, ...]:
    found = index.query("SELECT run_uid FROM runs WHERE status = 'unverifiable' ORDER BY run_uid")
    return tuple(row["run_uid"] for row in found)


def _writable(path: Path) -> bool:
    """Whether the index file can be made or written where it lies (a missing store is made)."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))
