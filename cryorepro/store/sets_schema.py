"""The index's tables of sets."""

from __future__ import annotations

SET_TABLES: dict[str, tuple[str, ...]] = {
    "sets": (
        "set_uid TEXT PRIMARY KEY",
        "benchmark TEXT",
        "benchmark_version TEXT",
        "spec_sha256 TEXT",
        "tier TEXT",
        "created_at TEXT",
        "ended_at TEXT",
        "status TEXT NOT NULL CHECK (status IN ('unfinished', 'completed', 'unverifiable'))",
        "reason TEXT",
        "verdict TEXT",
        "detail TEXT CHECK (detail IS NULL OR json_valid(detail))",
        "stamp TEXT NOT NULL",
    ),
    "set_members": (
        "set_uid TEXT NOT NULL REFERENCES sets(set_uid) ON DELETE CASCADE",
        "position INTEGER NOT NULL",
        "runner TEXT NOT NULL",
        "seed INTEGER NOT NULL",
        "run_uid TEXT",
        "status TEXT NOT NULL",
        "PRIMARY KEY (set_uid, position)",
    ),
}
"""``stamp`` tells whether a journal has changed since. A member's run may be gone: no foreign key to ``runs``."""


def set_statements() -> list[str]:
    """Every statement that makes the tables."""
    tables = [f"CREATE TABLE {name} (\n  " + ",\n  ".join(parts) + "\n) STRICT" for name, parts in SET_TABLES.items()]
    return [*tables, "CREATE INDEX set_members_by_run ON set_members (run_uid)"]
