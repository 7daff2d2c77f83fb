"""One attempt's samples as columns, read from what the sampler wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryorepro.em.errors import InputError
from cryorepro.workflow.timeline.columns import VERSION

Column = list[float | None]
LARGEST_BYTES = 256_000_000
"""A month at 1 Hz without GPUs, ten days with eight."""


@dataclass
class Timeline:
    """Columns by name, all of one length; a list of such columns for each GPU."""

    stage: str
    attempt: int
    started_at: float
    period_s: float
    cores: int
    columns: dict[str, Column]
    gpu_names: list[str] = field(default_factory=list)
    gpus: list[dict[str, Column]] = field(default_factory=list)
    ended: bool = True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.columns.get("seconds", []))

    @property
    def seconds(self) -> list[float]:
        """Time of each sample since the sampler began."""
        return [value or 0.0 for value in self.columns.get("seconds", [])]

    def known(self, name: str) -> list[float]:
        """The values of one column that were read."""
        return [value for value in self.columns.get(name, []) if value is not None]

    def mean(self, name: str) -> float | None:
        """Mean over time: each value stands for the time since the sample before it."""
        return time_mean(self.seconds, self.columns.get(name, []))


def time_mean(seconds: list[float], column: Column) -> float | None:
    """Mean weighted by the time before each sample; the first sample has none and counts only when alone."""
    weighted = [
        (value, seconds[place] - seconds[place - 1])
        for place, value in enumerate(column)
        if value is not None and place > 0
    ]
    total = sum(weight for _, weight in weighted)
    if total > 0:
        return sum(value * weight for value, weight in weighted) / total
    known = [value for value in column if value is not None]
    return sum(known) / len(known) if known else None


def read_samples(path: Path, stage: str, attempt: int) -> Timeline | None:
    """The samples in ``path``; None when the sampler never began. A line cut off by a kill ends them.

    Raises:
        InputError: the file is too large, or was written by another version of the sampler.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"{path}: larger than the {LARGEST_BYTES:,} bytes a timeline may have")
    with path.open(encoding="utf-8", errors="replace") as lines:
        header = _object(lines.readline())
        if not isinstance(header, dict):
            return None
        if header.get("version") != VERSION:
            raise InputError(f"{path}: version {header.get('version')} of the timeline; this is version {VERSION}")
        rows, ended = _rows([_object(line) for line in lines], len(header["columns"]) + 1)
    names, gpu_names = header["columns"], header["gpu_columns"]
    cards = [[row[-1][card] for row in rows] for card in range(len(header["gpus"]))]
    return Timeline(
        stage=stage,
        attempt=attempt,
        started_at=header["started_at"],
        period_s=header["period_s"],
        cores=header["cores"],
        columns={name: [row[place] for row in rows] for place, name in enumerate(names)},
        gpu_names=header["gpus"],
        gpus=[{name: [row[place] for row in card] for place, name in enumerate(gpu_names)} for card in cards],
        ended=ended,
    )


def _rows(objects: list[Any], length: int) -> tuple[list[list[Any]], bool]:
    rows: list[list[Any]] = []
    for item in objects:
        if isinstance(item, dict) and "ended_at" in item:
            return rows, True
        if not isinstance(item, list) or len(item) != length:
            return rows, False
        rows.append(item)
    return rows, False


def _object(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
