"""The content of an index as text that depends on nothing but the journals."""

from __future__ import annotations

from sqlite_utils import Database

from cryorepro.store.event import canonical_json
from cryorepro.store.schema import TABLES
from cryorepro.store.sets_schema import SET_TABLES


def logical_dump(db: Database) -> str:
    """One JSON line per row, the table's name and the row; tables by name and rows by their keys."""
    lines: list[str] = []
    for name in sorted({**TABLES, **SET_TABLES}):
        table = db.table(name)
        keys = ", ".join(f'"{column}"' for column in table.pks)
        lines += [canonical_json([name, row]).decode("ascii") for row in table.rows_where(order_by=keys)]
    return "".join(line + "\n" for line in lines)
