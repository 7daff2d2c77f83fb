"""Use of the machine over time, one table per attempt at a stage, as CSV."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryorepro.em.errors import InputError

COLUMNS = ("seconds", "cpu_seconds", "memory_bytes", "processes")
LARGEST_ROWS = 2000
_HEAD = ",".join(COLUMNS)


@dataclass(frozen=True)
class Usage:
    """Columns of equal length."""

    seconds: list[float]
    cpu_seconds: list[float]
    memory_bytes: list[float]


def usage_csv(path: Path) -> bytes:
    """The supervisor's ``usage.jsonl`` as CSV, thinned to at most ``LARGEST_ROWS`` rows, the last one kept."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    step = -(-len(rows) // LARGEST_ROWS) or 1
    kept = rows[::-1][::step][::-1]
    lines = [",".join(f"{float(row.get(name) or 0):.10g}" for name in COLUMNS) for row in kept]
    return "\n".join([_HEAD, *lines, ""]).encode()


def parse_usage(name: str, content: bytes) -> Usage:
    """Read what :func:`usage_csv` wrote.

    Raises:
        InputError: another header, a row of another length, or something that is no finite number.
    """
    head, *lines = content.decode("utf-8", "replace").splitlines()
    if head != _HEAD or len(lines) > LARGEST_ROWS:
        raise InputError(f"{name}: not a table of use over time")
    rows = [_numbers(name, line) for line in lines]
    return Usage([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _numbers(name: str, line: str) -> list[float]:
    try:
        row = [float(text) for text in line.split(",")]
    except ValueError as error:
        raise InputError(f"{name}: '{line[:60]}' is not a row of numbers") from error
    if len(row) != len(COLUMNS) or not all(0 <= value < 1e18 for value in row):
        raise InputError(f"{name}: '{line[:60]}' is not a row of {len(COLUMNS)} numbers")
    return row
