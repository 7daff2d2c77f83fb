"""How an index of an older version becomes one of this version; one of a newer version is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlite_utils import Database, Migrations

from cryorepro.store.errors import StoreError
from cryorepro.store.schema import APPLICATION_ID, create_statements
from cryorepro.store.sets_schema import set_statements

Step = Callable[[Database], None]
MIGRATION_SET = "cryorepro.store"


def m001_initial(db: Database) -> None:
    """The tables of the first release."""
    for statement in create_statements():
        db.execute(statement)


def m002_sets(db: Database) -> None:
    """Sets of runs."""
    for statement in set_statements():
        db.execute(statement)


STEPS: tuple[Step, ...] = (m001_initial, m002_sets)
"""In order, for ever: a released step is never edited. Its position is the schema version it leads to."""


def is_current(db: Database, path: Path, steps: Sequence[Step] = STEPS) -> bool:
    """Whether the index is of the version that ``steps`` lead to; an older one must be migrated.

    Raises:
        StoreError: the file is another program's, or was written by a newer cryorepro.
    """
    version, identity = pragma(db, "user_version"), pragma(db, "application_id")
    if identity != APPLICATION_ID and (identity or version or db.table_names()):
        raise StoreError(f"{path} is not a cryorepro index: move it away, or set CRYOREPRO_INDEX to another file")
    if version > len(steps):
        raise StoreError(
            f"{path} has schema version {version} and this cryorepro knows {len(steps)}: use the newer one "
            "that wrote it, or move the file away and rebuild it from the journals"
        )
    return version == len(steps)


def migrate(db: Database, path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Bring the index to the version that ``steps`` lead to. Call inside a write transaction.

    Raises:
        StoreError: as :func:`is_current`.
    """
    if is_current(db, path, steps):
        return
    migrations = Migrations(MIGRATION_SET)
    for step in steps:
        migrations(name=step.__name__)(step)
    migrations.apply(db)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(steps)}")


def pragma(db: Database, name: str) -> int:
    """The value of an integer pragma."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
