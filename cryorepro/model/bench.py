"""What ``cryorepro bench`` measured: one record a machine, to be kept, compared and contributed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from cryorepro.model.base import Record
from cryorepro.model.fingerprint import ProbeResult

BENCH_VERSION = 1
"""Raised whenever a test's work changes: records of different versions are not comparable."""

Group = Literal["fs", "cpu", "gpu"]


class Interval(Record):
    """Bounds of a median by order statistics, with the level that so few repeats can give."""

    low: float
    high: float
    level: float = Field(ge=0, le=1)


class StopRule(Record):
    """When repeating ended, and whether the spread that was asked for had been met."""

    met: bool
    wanted_spread: float
    spread: float | None = Field(description="half the interquartile range over the median; None below three repeats")
    reason: str


class BenchTest(Record):
    """One test: what was done, how long each repeat took, and what that comes to."""

    name: str
    group: Group
    device: str
    tags: tuple[str, ...] = ()
    workload: dict[str, Any] = Field(description="what was done; equal workloads can be compared")
    seconds: tuple[float, ...]
    median_seconds: float = Field(ge=0)
    interval: Interval | None = None
    warmups: int = Field(0, ge=0)
    stop: StopRule | None = None
    rate: float | None = None
    rate_unit: str | None = None
    sub_seconds: dict[str, float] = Field(default_factory=dict, description="medians of the parts")
    checks: dict[str, Any] = Field(default_factory=dict)
    perturbed: tuple[str, ...] = ()


class Calibration(Record):
    """How well this machine repeats a fixed piece of work for a fixed time."""

    seconds: float
    blocks: int
    median_block_seconds: float
    spread: float = Field(description="half the interquartile range over the median")
    drift: float = Field(description="relative difference between the medians of the two halves")
    smallest_visible: float = Field(description="relative difference of medians of five repeats that exceeds the noise")
    smallest_visible_once: float | None = Field(None, description="the same of two single times, drift included")
    threads: int | None = Field(None, description="threads the work was spread over; None as many as there are")


class RunCalibration(Calibration):
    """A machine's repeatability as a run states it: measured for it, or before it since the system started."""

    key: str = Field(
        description="digest of what the machine was: processor, memory, quota, threads, start of the system"
    )
    measured_at: str
    measured_for_this_run: bool
    perturbed: tuple[str, ...] = Field((), description="reasons, when others disturbed the calibration itself")


class BenchRecord(Record):
    """All tests of one machine, with its fingerprint. Names no person, host or path."""

    schema_version: int = BENCH_VERSION
    created_at: str
    cryorepro_version: str
    title: str | None = None
    source: Literal["cryorepro", "cryosparc"] = "cryorepro"
    citation: str | None = Field(None, description="where others published these times; none when measured here")
    settings: dict[str, Any] = Field(default_factory=dict)
    order: str = ""
    tests: tuple[BenchTest, ...]
    calibration: Calibration | None = None
    perturbed: tuple[dict[str, Any], ...] = ()
    skipped: dict[str, str] = Field(default_factory=dict)
    fingerprint: tuple[ProbeResult, ...] = ()
