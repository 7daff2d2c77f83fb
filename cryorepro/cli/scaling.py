"""``cryorepro scaling``: speed-up, efficiency and laws over devices; the time of a whole run from its first part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.compare.scaling.laws import Fit
    from cryorepro.compare.scaling.series import Series


def scaling_command(
    benchmark: Annotated[str | None, typer.Argument(help="A data set or a workload.", metavar="BENCHMARK")] = None,
    table: Annotated[Path | None, typer.Option(help="Runs of your own (YAML).")] = None,
    iterations: Annotated[
        Path | None, typer.Option(help="First iterations of a run (YAML): how long will it take?")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the series: .svg, .png or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """How published runs, or yours, scale: speed-up, efficiency, serial fraction, the most speed-up for the money."""
    if [benchmark, table, iterations].count(None) != 2:
        raise InputError("give one of: a BENCHMARK, --table FILE, --iterations FILE")
    if iterations is not None:
        record = _forecast(iterations)
        typer.echo(json.dumps(record, indent=1) if as_json else _forecast_text(record))
        return
    found = _from_table(table) if table is not None else _from_claims(benchmark or "")
    records = [series_record(series) for series in found]
    if plot is not None:
        from cryorepro.report.scaling_plot import plot_scaling

        plot_scaling(found, benchmark or found[0].workload, plot)
    if as_json:
        typer.echo(json.dumps(records, indent=1))
    else:
        for series, record in zip(found, records, strict=True):
            _print_series(series, record)


def _from_table(path: Path) -> list[Series]:
    from cryorepro.compare.scaling.laws import Point
    from cryorepro.compare.scaling.series import Series
    from cryorepro.model.scaling_table import ScalingTable
    from cryorepro.model.strict_yaml import load_record

    read = load_record(path, ScalingTable)
    points = [Point(run.devices, run.seconds, run.work, run.usd) for run in read.runs]
    ordered = sorted(points, key=lambda point: (point.devices, point.seconds))
    return [Series(read.title, read.source, "-", read.unit, ordered, [])]


def _from_claims(benchmark: str) -> list[Series]:
    from cryorepro.compare.claims_lint.check import check_claims, shipped_record
    from cryorepro.compare.claims_table import published_runs, select
    from cryorepro.compare.scaling.series import published_series

    record = shipped_record()
    runs = published_runs(select(record.claims, benchmark), check_claims(record).findings)
    found = published_series(runs, record.machines)
    if not found:
        raise InputError(f"no two sound published runs of '{benchmark}' differ only in their number of devices")
    return found


def series_record(series: Series) -> dict[str, Any]:
    """A series with its figures as JSON."""
    from cryorepro.compare.scaling.laws import (
        best_speedup_per_cost,
        efficiencies,
        experimental_serial_fraction,
        fit_amdahl,
        fit_gustafson,
        speedups,
    )

    points = series.points
    fewest = min(point.devices for point in points)
    same_work = len({point.work for point in points}) == 1
    fit = (fit_amdahl if same_work else fit_gustafson)(points)
    best = best_speedup_per_cost(points)
    return {
        "workload": series.workload, "system": series.system, "software": series.software, "unit": series.unit,
        "runs": [
            {
                "devices": point.devices, "seconds": point.seconds, "work": point.work, "usd": point.usd,
                "claim": point.label or None, "speedup": gain, "efficiency": share,
                "serial_fraction": experimental_serial_fraction(gain, point.devices / fewest),
            }
            for point, gain, share in zip(points, speedups(points), efficiencies(points), strict=True)
        ],
        "left_out": [{"claim": point.label, "devices": point.devices, "seconds": point.seconds, "doubts": list(doubts)}
                     for point, doubts in series.doubtful],
        "fit": _fit_record(fit), "most_speedup_per_cost": {"devices": best.devices, "seconds": best.seconds},
    }  # fmt: skip


def _fit_record(fit: Fit) -> dict[str, Any]:
    best = fit.most_speedup_per_cost
    return {
        "law": fit.law, "serial_fraction": fit.serial_fraction, "low": fit.low, "high": fit.high, "level": fit.level,
        "one_device_seconds": fit.one_device_seconds,
        "most_speedup_per_cost_devices": best if fit.law == "amdahl" and best != float("inf") else None,
    }  # fmt: skip


def _print_series(series: Series, record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    out = Console()
    out.print(f"{series.workload}: {series.system}, {series.software}", markup=False, highlight=False)
    table = Table(series.unit, "time", "speed-up", "efficiency", "serial part", "cost", box=None, pad_edge=False)
    for run in record["runs"]:
        serial = run["serial_fraction"]
        table.add_row(
            str(run["devices"]), f"{run['seconds'] / 60:.1f} min", f"{run['speedup']:.2f}", f"{run['efficiency']:.0%}",
            "-" if serial is None else f"{serial:.3f}", "-" if run["usd"] is None else f"${run['usd']:.2f}",
        )  # fmt: skip
    out.print(table)
    for left in record["left_out"]:
        text = f"  left out: {left['claim']} ({left['devices']} {series.unit}): {', '.join(left['doubts'])}"
        out.print(text, markup=False, highlight=False)
    fit, best = record["fit"], record["most_speedup_per_cost"]
    interval = "too few runs for an interval" if fit["low"] is None else f"{fit['low']:.3f} to {fit['high']:.3f} (95 %)"
    law = fit["law"].capitalize()
    out.print(f"  {law}'s law: serial fraction {fit['serial_fraction']:.3f}; {interval}", markup=False, highlight=False)
    text = f"  most speed-up for the cost: {best['devices']} {series.unit} of those run"
    if fit["most_speedup_per_cost_devices"]:
        text += f", {fit['most_speedup_per_cost_devices']:.1f} by the fitted law, were each paid by the hour"
    out.print(text, markup=False, highlight=False)


def _forecast(path: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from cryorepro.compare.scaling.iterations import forecast
    from cryorepro.model.scaling_table import IterationsTable
    from cryorepro.model.strict_yaml import load_record

    read = load_record(path, IterationsTable)
    seconds, shells = [i.seconds for i in read.iterations], [i.shell for i in read.iterations]
    found = forecast(seconds, shells, read.total_iterations, read.box_px, read.planned_shells)
    return {"title": read.title, **asdict(found)}


def _forecast_text(record: dict[str, Any]) -> str:
    def minutes(name: str) -> str:
        return f"{record[name] / 60:.1f} min"

    lines = [f"{record['title']}: an iteration takes {record['seconds_fixed']:.3g} s + "
             f"{record['seconds_per_square_shell']:.3g} s for each square shell"]  # fmt: skip
    if record["seconds"] is not None:
        around = "" if record["low"] is None else f" ({minutes('low')} to {minutes('high')}, 95 %)"
        lines.append(f"whole run: {minutes('seconds')}{around}, if resolution grows as planned")
    lines.append(f"at least {minutes('at_least')} (no further resolution), at most {minutes('at_most')} (Nyquist)")
    lines.append(f"the mean of the iterations seen would say {minutes('naive')}")
    return "\n".join(lines)
