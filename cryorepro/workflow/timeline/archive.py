"""All samples of a run in one SQLite file, ``timeline.sqlite``.

Only the run's own process writes it, and never in place: the database is changed in memory and the file replaced
whole, so that it may lie on a network filesystem, where SQLite's locks cannot be trusted.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from cryorepro.em.errors import InputError
from cryorepro.store.files import write_atomically
from cryorepro.workflow.timeline.columns import COLUMNS, GPU_COLUMNS, VERSION
from cryorepro.workflow.timeline.series import LARGEST_BYTES, Timeline

FILE = "timeline.sqlite"


def add(path: Path, timeline: Timeline) -> None:
    """Add one attempt's samples to the run's file, which is made if need be; an attempt there is replaced.

    Raises:
        InputError: the file is not a timeline of this version.
        StoreError: the disk is full or read-only; the old file stays.
    """
    with closing(_open(path)) as database:
        key = (timeline.stage, timeline.attempt)
        with database:
            for table in ("attempts", "samples", "gpu_samples"):
                database.execute(f"DELETE FROM {table} WHERE stage = ? AND attempt = ?", key)
            about = (timeline.started_at, timeline.period_s, timeline.cores, json.dumps(timeline.gpu_names))
            database.execute("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, *about, timeline.ended))
            marks = ", ".join("?" * (2 + len(COLUMNS)))
            columns = [timeline.columns[name] for name in COLUMNS]
            database.executemany(
                f"INSERT INTO samples VALUES ({marks})", ((*key, *row) for row in zip(*columns, strict=True))
            )
            marks = ", ".join("?" * (3 + len(GPU_COLUMNS)))
            for card in timeline.gpus:
                rows = zip(timeline.columns["seconds"], *(card[name] for name in GPU_COLUMNS), strict=True)
                database.executemany(f"INSERT INTO gpu_samples VALUES ({marks})", ((*key, *row) for row in rows))
        write_atomically(path, database.serialize())


def load(path: Path) -> list[Timeline]:
    """Every attempt in a run's file, in the order of time.

    Raises:
        InputError: the file is missing or not a timeline of this version.
    """
    if not path.is_file():
        raise InputError(f"{path}: this run has no timeline")
    with closing(_open(path)) as database:
        attempts = database.execute("SELECT * FROM attempts ORDER BY started_at").fetchall()
        return [_timeline(database, *row) for row in attempts]


def _timeline(
    database: sqlite3.Connection, stage: str, attempt: int, started_at: float, period_s: float, cores: int, names: str,
    ended: int,
) -> Timeline:  # fmt: skip
    where, key = "WHERE stage = ? AND attempt = ? ORDER BY seconds", (stage, attempt)
    rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM samples {where}", key).fetchall()
    gpu_rows = database.execute(f"SELECT {_quoted(GPU_COLUMNS)} FROM gpu_samples {where}", key).fetchall()
    gpu_names = json.loads(names)
    cards = [[row for row in gpu_rows if row[0] == card] for card in range(len(gpu_names))]
    return Timeline(
        stage=stage,
        attempt=attempt,
        started_at=started_at,
        period_s=period_s,
        cores=cores,
        columns={name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)},
        gpu_names=gpu_names,
        gpus=[{name: [row[place] for row in card] for place, name in enumerate(GPU_COLUMNS)} for card in cards],
        ended=bool(ended),
    )


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    try:
        if path.is_file():
            if path.stat().st_size > LARGEST_BYTES:
                raise InputError(f"{path}: larger than the {LARGEST_BYTES:,} bytes a timeline may have")
            database.deserialize(path.read_bytes())
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                raise InputError(f"{path}: version {version} of the timeline; this is version {VERSION}")
        else:
            database.executescript(_schema())
    except sqlite3.Error as error:
        database.close()
        raise InputError(f"{path}: not a timeline ({error})") from error
    except InputError:
        database.close()
        raise
    return database


def _schema() -> str:
    key = "stage TEXT NOT NULL, attempt INTEGER NOT NULL"
    samples = ", ".join(f"{name} REAL" for name in COLUMNS)
    gpus = ", ".join(f'"{name}" REAL' for name in GPU_COLUMNS)
    return f"""
        PRAGMA user_version = {VERSION};
        CREATE TABLE attempts ({key}, started_at REAL, period_s REAL, cores INTEGER, gpus TEXT, ended INTEGER,
            PRIMARY KEY (stage, attempt)) STRICT;
        CREATE TABLE samples ({key}, {samples}) STRICT;
        CREATE TABLE gpu_samples ({key}, seconds REAL, {gpus}) STRICT;
    """


def _quoted(names: dict[str, tuple[str, str]]) -> str:
    return ", ".join(f'"{name}"' for name in names)
