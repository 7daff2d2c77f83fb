"""Sets of runs in the store: ``sets/SET`` holds a set's own journal, and the index is filled from it second.

A set's journal names its members before any of them begins; each member is a run of its own in ``runs/``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.store.chain import EVENTS, read_events
from cryorepro.store.errors import JournalError, storage_error
from cryorepro.store.event import Event, canonical_json
from cryorepro.store.files import is_file
from cryorepro.store.home import LATEST, Home, new_run_uid
from cryorepro.store.index import Index
from cryorepro.store.sets_schema import SET_TABLES

SET_PREFIX = "set-"
Rows = dict[str, list[dict[str, Any]]]


def sets_folder(home: Home) -> Path:
    """One directory per set."""
    return home.root / "sets"


def new_set(home: Home) -> tuple[str, Path]:
    """A new set's identifier and its empty directory.

    Raises:
        StoreError: the store is read-only or full.
    """
    home.ensure()
    while True:
        uid = SET_PREFIX + new_run_uid()
        directory = sets_folder(home) / uid
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise storage_error("create", directory, error) from error
        return uid, directory


def set_uids(home: Home) -> list[str]:
    """Identifiers of all sets that have a journal, oldest first.

    Raises:
        StoreError: the store cannot be read.
    """
    folder = sets_folder(home)
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(SET_PREFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("read", folder, error) from error
    return sorted(name for name in names if is_file(folder / name / EVENTS))


def find_set(home: Home, name: str) -> Path:
    """The directory of the one set whose name begins or ends with ``name``; ``set-latest`` is the newest.

    Raises:
        InputError: no set or several sets match.
    """
    uids = set_uids(home)
    if name == SET_PREFIX + LATEST and uids:
        return sets_folder(home) / uids[-1]
    tail = name.removeprefix(SET_PREFIX)
    matches = [uid for uid in uids if tail and (uid.startswith(name) or uid.endswith(tail))]
    if len(matches) != 1:
        raise InputError(f"{len(matches) or 'no'} sets are called '{name}' in {sets_folder(home)}")
    return sets_folder(home) / matches[0]


def ingest_sets(index: Index) -> list[str]:
    """Fold every set whose journal changed into the index, and forget those that are gone; returns what was read.

    Raises:
        StoreError: the index cannot be written, or the sets cannot be listed.
    """
    known = {row["set_uid"]: row["stamp"] for row in index.query("SELECT set_uid, stamp FROM sets")}
    uids, read = set_uids(index.home), []
    for uid in uids:
        path = sets_folder(index.home) / uid / EVENTS
        found = path.stat()
        stamp = f"{found.st_size}:{found.st_mtime_ns}"
        if known.get(uid) != stamp:
            _replace(index, uid, stamp)
            read.append(uid)
    gone = sorted(known.keys() - set(uids))
    if gone:
        with index.transaction() as db:
            for uid in gone:
                db.execute("DELETE FROM sets WHERE set_uid = ?", [uid])
    return read


def list_sets(index: Index) -> list[dict[str, Any]]:
    """The sets with how many members each has and how many ended, newest first.

    Raises:
        StoreError: the index cannot be read.
    """
    return index.query(
        "SELECT sets.set_uid, benchmark, tier, sets.status, verdict, created_at, count(position) AS members, "
        "sum(m.status = 'completed') AS completed, sum(m.status = 'failed') AS failed "
        "FROM sets LEFT JOIN set_members AS m USING (set_uid) GROUP BY sets.set_uid ORDER BY sets.set_uid DESC"
    )


def _replace(index: Index, uid: str, stamp: str) -> None:
    rows = _rows(uid, stamp, sets_folder(index.home) / uid)
    with index.transaction() as db:
        db.execute("DELETE FROM sets WHERE set_uid = ?", [uid])
        for table in SET_TABLES:
            for row in rows[table]:
                marks = ", ".join("?" * len(row))
                db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _rows(uid: str, stamp: str, directory: Path) -> Rows:
    try:
        return _project(uid, stamp, read_events(directory))
    except (JournalError, KeyError, TypeError) as error:
        row = {"set_uid": uid, "status": "unverifiable", "reason": str(error), "stamp": stamp}
        return {"sets": [row], "set_members": []}


def _project(uid: str, stamp: str, events: list[Event]) -> Rows:
    row: dict[str, Any] = {"set_uid": uid, "status": "unfinished", "stamp": stamp}
    members: dict[int, dict[str, Any]] = {}
    for event in events:
        data: dict[str, Any] = dict(event.data)
        if event.type == "set_created":
            row.update({name: data[name] for name in ("benchmark", "benchmark_version", "tier", "spec_sha256")})
            row["created_at"] = event.time
            for member in data["members"]:
                members[member["position"]] = {"set_uid": uid, **member, "status": "planned", "run_uid": None}
        elif event.type == "member_started":
            members[data["position"]].update(status="unfinished", run_uid=data["run_uid"])
        elif event.type == "member_ended":
            members[data["position"]].update(status=data["status"])
        elif event.type == "set_verdict_given":
            row["verdict"] = data["word"]
            row["detail"] = canonical_json(data).decode("ascii")
        elif event.type == "set_ended":
            row.update(status=data["status"], ended_at=event.time)
    return {"sets": [row], "set_members": list(members.values())}
