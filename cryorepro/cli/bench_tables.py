"""Benchmark records and their comparison as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryorepro.compare.bench import BenchComparison, Cell
    from cryorepro.model.bench import BenchRecord


def print_record(record: BenchRecord) -> None:
    """Medians with intervals and rates, the machine's repeatability, what was left out and what disturbed."""
    from rich.console import Console
    from rich.table import Table

    out = Console()
    table = Table("test", "on", "median", "interval", "repeats", "rate", box=None, pad_edge=False)
    for test in record.tests:
        bounds = test.interval
        interval = f"{bounds.low:.4g} to {bounds.high:.4g} s ({bounds.level:.0%})" if bounds else "-"
        met = "" if test.stop is None or test.stop.met else " *"
        rate = f"{test.rate:.4g} {test.rate_unit}" if test.rate else "-"
        table.add_row(
            test.name, test.device, f"{test.median_seconds:.4g} s", interval, f"{len(test.seconds)}{met}", rate
        )
    out.print(table)
    if any(test.stop is not None and not test.stop.met for test in record.tests):
        out.print("* the spread that was asked for was not met", highlight=False)
    if record.calibration is not None:
        noise = record.calibration
        text = (
            f"repeatability: {noise.blocks} equal blocks in {noise.seconds:g} s, spread {noise.spread:.1%}, "
            f"drift {noise.drift:+.1%}; differences below {noise.smallest_visible:.1%} cannot be seen"
        )
        out.print(text, highlight=False)
    for name, reason in record.skipped.items():
        out.print(f"{name} was left out: {reason}", markup=False, highlight=False)
    for flag in record.perturbed:
        out.print(f"perturbed ({flag['reason']}): {flag['detail']}", markup=False, highlight=False)


def print_comparison(comparison: BenchComparison, details: bool) -> None:
    """A column for each machine; with ``details`` a line for each part of a test."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = Console()
    table = Table("test", box=None, pad_edge=False)
    for place, name in enumerate(comparison.names):
        table.add_column(escape(name) + (" (reference)" if place == comparison.reference else ""))
    for row in comparison.rows:
        tags = f" ({' '.join(row.tags)})" if details and row.tags else ""
        table.add_row(escape(row.test + tags), *(escape(_shown(cell)) for cell in row.cells))
        parts = dict.fromkeys(part for cell in row.cells for part in cell.sub_seconds) if details else {}
        for part in parts:
            values = [cell.sub_seconds.get(part) for cell in row.cells]
            table.add_row(f"  {part}", *("-" if value is None else f"{value:.4g} s" for value in values))
    out.print(table)
    for name, remarks in zip(comparison.names, comparison.remarks, strict=True):
        for remark in remarks:
            out.print(f"{name}: {remark}", markup=False, highlight=False)


def _shown(cell: Cell) -> str:
    if cell.seconds is None:
        return "-"
    share = f" ({cell.share:.0%})" if cell.share is not None else ""
    text = f"{cell.seconds:.4g} s{share}"
    if cell.standing == "not-comparable":
        return f"{text} not comparable: {cell.reason}"
    if cell.standing == "reference" or cell.speed_up is None:
        return text
    return f"{text} x{cell.speed_up:.2f}{' within noise' if cell.standing == 'within-noise' else ''}"
