"""The SQLite index of a store: opened with every safeguard on, and never on a network filesystem.

The index is disposable: journals are the record, and ``ingest.rebuild`` makes the same index from them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlite_utils import Database

from cryorepro.store.dump import logical_dump
from cryorepro.store.errors import StoreError, storage_error
from cryorepro.store.home import Home
from cryorepro.store.migrations import is_current, migrate
from cryorepro.store.netfs import require_local

__all__ = ["BUSY_TIMEOUT_S", "Index", "logical_dump"]

BUSY_TIMEOUT_S = 30.0


class Index:
    """An open index of the store ``home``. Use as a context manager, or call :meth:`close`."""

    def __init__(self, home: Home, path: Path, db: Database) -> None:
        self.home = home
        self.path = path
        self.db = db

    @classmethod
    def open(cls, home: Home) -> Self:
        """Open the index for writing; it is made, or brought to this version, when it has to be.

        Raises:
            StoreError: it lies on a network disk, cannot be written, is damaged, or is a newer version's.
        """
        path = home.index
        require_local(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("create", path.parent, error) from error
        with sqlite_errors(path):
            index = cls(home, path, _connect(str(path)))
            try:
                if not is_current(index.db, path):
                    _use_wal(index.db)
                    with index.transaction():
                        migrate(index.db, path)
            except BaseException:
                index.close()
                raise
        return index

    @classmethod
    def in_memory(cls, home: Home) -> Self:
        """An empty index that leaves no file: for a store that may be read and not written."""
        index = cls(home, Path(":memory:"), _connect(":memory:"))
        with index.transaction():
            migrate(index.db, index.path)
        return index

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """One write transaction, locked at once: one that reads first may be refused to write later.

        Raises:
            StoreError: the index cannot be written, or stayed locked for ``BUSY_TIMEOUT_S``.
        """
        with sqlite_errors(self.path):
            self.db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
                self.db.conn.execute("COMMIT")
            except BaseException:
                if self.db.conn.in_transaction:
                    self.db.conn.execute("ROLLBACK")
                raise

    def query(self, sql: str, *parameters: None | int | float | str) -> list[dict[str, Any]]:
        """The rows of one SELECT, as mappings.

        Raises:
            StoreError: the index cannot be read.
        """
        with sqlite_errors(self.path):
            cursor = self.db.conn.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one sentence that names the index.

    Raises:
        StoreError: in place of any ``sqlite3.DatabaseError`` that is about the file and not about a query.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.OperationalError as error:
        raise StoreError(f"cannot use the index {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DamagedIndexError(
            f"the index {path} is damaged ({error}): `cryorepro db rebuild` makes it anew from the journals"
        ) from error


class DamagedIndexError(StoreError):
    """The index file is not a sound SQLite database; the journals are not affected."""


def _connect(name: str) -> Database:
    connection = sqlite3.connect(name, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        # trusted_schema stays on: SQLite 3.40 holds json_valid() in a CHECK for unsafe without it.
        for setting in ("foreign_keys = ON", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}")
        # No plugins of sqlite-utils: they would run other people's code on every connection.
        return Database(connection, recursive_triggers=True, execute_plugins=False, strict=True)
    except BaseException:
        connection.close()
        raise


def _use_wal(db: Database) -> None:
    """Switch to write-ahead logging. The switch does not wait for other connections by itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            db.execute("PRAGMA journal_mode = wal")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
