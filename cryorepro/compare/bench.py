"""Benchmark records side by side: times, shares, speed-ups, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from cryorepro.compare.fingerprints import diff_fingerprints
from cryorepro.em.errors import InputError
from cryorepro.model.base import Record
from cryorepro.model.bench import BenchRecord, BenchTest

Standing = Literal["reference", "faster", "slower", "within-noise", "not-comparable", "absent"]


class Cell(Record):
    """One test of one machine against the reference's."""

    standing: Standing
    seconds: float | None = None
    share: float | None = None
    speed_up: float | None = None
    reason: str | None = None
    sub_seconds: dict[str, float] = {}


class Row(Record):
    """One test on every machine."""

    test: str
    group: str
    tags: tuple[str, ...]
    cells: tuple[Cell, ...]


class BenchComparison(Record):
    """All tests of all records; ``remarks`` holds for each record against the reference."""

    names: tuple[str, ...]
    reference: int
    rows: tuple[Row, ...]
    remarks: tuple[tuple[str, ...], ...]


def compare_bench(records: Sequence[BenchRecord], names: Sequence[str], reference: int = 0) -> BenchComparison:
    """Compare every record with ``records[reference]``.

    A test with another workload, or from another version of the benchmark, is marked and gets no speed-up.

    Raises:
        InputError: fewer than two records, or no such reference.
    """
    if len(records) < 2:
        raise InputError("a comparison needs at least two records")
    if not 0 <= reference < len(records):
        raise InputError(f"reference {reference}: there are {len(records)} records")
    tables = [{test.name: test for test in record.tests} for record in records]
    order = list(dict.fromkeys(test.name for record in records for test in record.tests))
    rows = []
    for name in order:
        found = next(table[name] for table in tables if name in table)
        base = tables[reference].get(name)
        cells = [
            _cell(table.get(name), base, record, records[reference], place == reference)
            for place, (table, record) in enumerate(zip(tables, records, strict=True))
        ]
        rows.append(Row(test=name, group=found.group, tags=found.tags, cells=tuple(cells)))
    remarks = tuple(tuple(_remarks(record, records[reference])) for record in records)
    return BenchComparison(names=tuple(names), reference=reference, rows=tuple(rows), remarks=remarks)


def _cell(
    test: BenchTest | None, base: BenchTest | None, record: BenchRecord, reference: BenchRecord, itself: bool
) -> Cell:
    if test is None:
        return Cell(standing="absent", reason=None)
    whole = sum(other.median_seconds for other in record.tests if other.group == test.group)
    common: dict[str, Any] = {
        "seconds": test.median_seconds,
        "share": test.median_seconds / whole if whole > 0 else None,
        "sub_seconds": test.sub_seconds,
    }
    if itself:
        return Cell(standing="reference", speed_up=1.0, **common)
    reason = why_not_comparable(test, base, record, reference)
    if reason is not None or base is None:
        return Cell(standing="not-comparable", reason=reason, **common)
    if test.median_seconds <= 0 or base.median_seconds <= 0:
        return Cell(standing="not-comparable", reason="a time of 0 s is below the clock", **common)
    ratio = base.median_seconds / test.median_seconds
    return Cell(standing=_standing(ratio, test, base, record, reference), speed_up=ratio, **common)


def why_not_comparable(
    test: BenchTest, base: BenchTest | None, record: BenchRecord, reference: BenchRecord
) -> str | None:
    """The reason why two tests of one name did not do the same work; None when they did."""
    if base is None:
        return "the reference lacks this test"
    if record.source != reference.source:
        return f"made by {record.source}, the reference by {reference.source}"
    if record.schema_version != reference.schema_version:
        return f"benchmark version {record.schema_version}, the reference {reference.schema_version}"
    keys = test.workload.keys() | base.workload.keys()
    # How many threads or processes a machine has is what is compared, not what makes it incomparable.
    keys -= {"threads", "processes"}
    apart = sorted(key for key in keys if test.workload.get(key) != base.workload.get(key))
    if apart:
        key = apart[0]
        return f"another workload: {key} {test.workload.get(key)}, the reference {base.workload.get(key)}"
    return None


def _standing(ratio: float, test: BenchTest, base: BenchTest, record: BenchRecord, reference: BenchRecord) -> Standing:
    """Noise is the larger of what the repeats' intervals overlap and what the calibrations say cannot be seen."""
    one, other = test.interval, base.interval
    overlap = one is None or other is None or (one.low <= other.high and other.low <= one.high)
    limits = [side.calibration.smallest_visible for side in (record, reference) if side.calibration is not None]
    if overlap or abs(ratio - 1.0) <= max(limits, default=0.0):
        return "within-noise"
    return "faster" if ratio > 1.0 else "slower"


def _remarks(record: BenchRecord, reference: BenchRecord) -> list[str]:
    remarks = [f"perturbed ({flag.get('reason')}): {flag.get('detail')}" for flag in record.perturbed]
    unmet = [test.name for test in record.tests if test.stop is not None and not test.stop.met]
    if unmet:
        remarks.append(f"stop rule not met by {len(unmet)} of {len(record.tests)} tests: {', '.join(unmet[:4])}…")
    warm = [test.name for test in record.tests if (test.checks.get("cached_before") or 0.0) > 0.05]
    if warm:
        remarks.append(f"read from a warm cache: {', '.join(warm)}")
    devices = {test.device for test in record.tests if test.group == "gpu" and test.name.startswith("engine")}
    if devices == {"cpu"}:
        remarks.append("engine tests ran on the CPU")
    if record is not reference and record.fingerprint and reference.fingerprint:
        diff = diff_fingerprints(reference.fingerprint, record.fingerprint)
        science, speed = (len(diff.with_effect(effect)) for effect in ("science", "performance"))
        remarks.append(f"machine differs from the reference in {speed} fields of performance and {science} of science")
    return remarks
