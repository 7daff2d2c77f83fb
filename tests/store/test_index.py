"""The index file: its safeguards, its versions, and what happens when it cannot be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from cryorepro.store.dump import logical_dump
from cryorepro.store.errors import StoreError
from cryorepro.store.home import Home
from cryorepro.store.index import DamagedIndexError, Index
from cryorepro.store.ingest import open_for_reading, rebuild
from cryorepro.store.migrations import STEPS, migrate, pragma
from cryorepro.store.queries import list_runs, run_detail
from cryorepro.store.schema import APPLICATION_ID, TABLES
from tests.store.journals import write_run


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "store").ensure()


def test_every_connection_has_its_safeguards(home: Home) -> None:
    with Index.open(home) as index:
        found = {
            name: index.query(f"PRAGMA {name}")[0].popitem()[1]
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout",
                         "application_id", "user_version")
        }  # fmt: skip
    assert found == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1,
        "busy_timeout": 30_000, "application_id": APPLICATION_ID, "user_version": len(STEPS),
    }  # fmt: skip


def test_every_table_is_strict_and_refers_to_its_run(home: Home) -> None:
    with Index.open(home) as index:
        for name in TABLES:
            assert index.db.table(name).strict, name
            if name != "runs":
                referred = {key.other_table for key in index.db.table(name).foreign_keys}
                assert "runs" in referred, name
        with pytest.raises(sqlite3.IntegrityError), index.transaction() as db:
            db.execute("INSERT INTO events VALUES ('nobody', 1, ?, 't', 'x', '{}')", ["a" * 64])
        write_run(home)
    with open_for_reading(home) as index:
        for bad in ("UPDATE runs SET seed = 'text'", "UPDATE runs SET parameters = '{'"):
            with pytest.raises(sqlite3.IntegrityError), index.transaction() as db:
                db.execute(bad)
        assert "completed" in {run["status"] for run in list_runs(index)}


def test_the_step_taken_is_recorded(home: Home) -> None:
    with Index.open(home) as index:
        rows = index.query("SELECT migration_set, name FROM _sqlite_migrations ORDER BY id")
    names = [(row["migration_set"], row["name"]) for row in rows]
    assert names == [("cryorepro.store", "m001_initial"), ("cryorepro.store", "m002_sets")]


def m002_example(db: Database) -> None:
    db.execute("CREATE TABLE example (a TEXT) STRICT")


def m003_failing(db: Database) -> None:
    db.execute("CREATE TABLE half_done (a TEXT) STRICT")
    db.execute("SELECT no_such_column FROM runs")


def test_an_older_index_is_brought_up_and_keeps_its_content(home: Home) -> None:
    write_run(home)
    with open_for_reading(home) as index:
        before = logical_dump(index.db)
        with index.transaction() as db:
            migrate(db, index.path, (*STEPS, m002_example))
        assert pragma(index.db, "user_version") == len(STEPS) + 1
        assert "example" in index.db.table_names()
        assert logical_dump(index.db) == before
        with pytest.raises(StoreError, match="no such column"), index.transaction() as db:
            migrate(db, index.path, (*STEPS, m002_example, m003_failing))
        assert pragma(index.db, "user_version") == len(STEPS) + 1
        assert "half_done" not in index.db.table_names(), "a step that failed left something behind"


def test_an_index_of_a_newer_version_is_refused_and_left_alone(home: Home) -> None:
    with Index.open(home) as index, index.transaction() as db:
        migrate(db, index.path, (*STEPS, m002_example))
    content = home.index.read_bytes()
    for use in (Index.open, open_for_reading, rebuild):
        with pytest.raises(StoreError, match=r"has schema version 3 and this cryorepro knows 2"):
            use(home)
    assert home.index.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(home: Home) -> None:
    with sqlite3.connect(home.index) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    content = home.index.read_bytes()
    for use in (Index.open, rebuild):
        with pytest.raises(StoreError, match="is not a cryorepro index"):
            use(home)
    assert home.index.read_bytes() == content


def test_a_damaged_index_is_named_and_a_rebuild_makes_it_anew(home: Home) -> None:
    for seed in range(4):
        write_run(home, seed)
    with open_for_reading(home) as index:
        before = logical_dump(index.db)
        index.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(home.index.read_bytes())
    content[4096 * 2 : 4096 * 12] = b"\xa5" * 4096 * 10
    home.index.write_bytes(content)
    rebuild(home)
    with Index.open(home) as index:
        assert logical_dump(index.db) == before
    assert [path.read_bytes() for path in home.root.glob("index.sqlite.damaged-*")] == [bytes(content)]


def test_a_file_that_is_no_database_is_named_and_moved_aside_by_a_rebuild(home: Home) -> None:
    write_run(home)
    home.index.write_text("this is a letter and not a database\n" * 200)
    with pytest.raises(DamagedIndexError, match="cryorepro db rebuild"):
        Index.open(home)
    rebuild(home)
    with open_for_reading(home) as index:
        assert len(list_runs(index)) == 1
    (aside,) = home.root.glob("index.sqlite.damaged-*")
    assert aside.read_text().startswith("this is a letter")


def test_a_read_only_store_can_be_read_and_says_so_when_written(
    make_read_only: tuple[Path, Callable[[], None]],
) -> None:
    folder, close = make_read_only
    home = Home.at(folder / "store").ensure()
    directory = write_run(home)
    close()
    with open_for_reading(home) as index:
        assert run_detail(index, directory.name)["status"] == "completed"
    with pytest.raises(StoreError) as caught:
        Index.open(home)
    assert str(home.index) in str(caught.value) and "\n" not in str(caught.value)


def test_a_full_disk_is_one_sentence_and_costs_only_the_index(small_disk: Path) -> None:
    home = Home.at(small_disk / "store").ensure()
    directories = [write_run(home, seed) for seed in range(3)]
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while True:
            stream.write(b"\0" * 4096)
    with pytest.raises(StoreError) as caught:
        rebuild(home)
    assert str(home.index) in str(caught.value) and "\n" not in str(caught.value)
    ballast.unlink()
    with open_for_reading(home) as index:
        assert len(list_runs(index, status="completed")) == len(directories)


def test_the_index_may_lie_on_another_disk(tmp_path: Path) -> None:
    home = Home.locate({"CRYOREPRO_HOME": str(tmp_path / "runs"), "CRYOREPRO_INDEX": str(tmp_path / "local/i.sqlite")})
    write_run(home)
    with open_for_reading(home) as index:
        assert len(list_runs(index)) == 1
    assert (tmp_path / "local/i.sqlite").is_file() and not (tmp_path / "runs/index.sqlite").exists()


def test_the_dump_holds_no_times_or_numbers_of_this_index(home: Home) -> None:
    write_run(home)
    with open_for_reading(home) as index:
        text = logical_dump(index.db)
    assert "applied_at" not in text and "stamp" not in text and "rowid" not in text
