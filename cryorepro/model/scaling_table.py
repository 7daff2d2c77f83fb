"""Files for ``cryorepro scaling``: runs over devices, and the first iterations of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cryorepro.model.base import Record


class ScalingRun(Record):
    """One run; ``work`` in any unit (particles, classes) when the runs did different amounts."""

    devices: int = Field(ge=1, le=1_000_000)
    seconds: float = Field(gt=0, le=1e9)
    work: float = Field(1.0, gt=0)
    usd: float | None = Field(None, gt=0)


class ScalingTable(Record):
    """Runs that differ in the number of devices, and perhaps in their work."""

    schema_version: Literal[1]
    title: str
    unit: str = Field("devices", description="what is counted: GPUs, nodes, CPUs")
    source: str
    runs: list[ScalingRun] = Field(min_length=2, max_length=10_000)


class IterationTime(Record):
    """An iteration: its time and the last resolution shell that it used."""

    seconds: float = Field(gt=0, le=1e8)
    shell: int = Field(ge=1, le=4096)


class IterationsTable(Record):
    """The first iterations of a run; ``planned_shells`` of the others, from a published or an earlier run."""

    schema_version: Literal[1]
    title: str
    box_px: int = Field(ge=2, le=8192)
    total_iterations: int = Field(ge=1, le=10_000)
    iterations: list[IterationTime] = Field(min_length=1, max_length=10_000)
    planned_shells: list[int] | None = Field(None, max_length=10_000)
