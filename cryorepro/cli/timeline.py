"""``cryorepro timeline``: what the machine did while a run ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cryorepro.em.errors import InputError


def timeline_command(
    run: Annotated[str, typer.Argument(help="A run's identifier, its beginning, or 'latest'.")] = "latest",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="SVG file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """What the machine did while a run ran: processor, memory, I/O, cache, GPUs, and what perturbed it."""
    from cryorepro.store.home import Home
    from cryorepro.workflow.record import run_record

    directory = Home.locate().find_run(run)
    record = run_record(directory)
    rows = [
        {"stage": name, "attempt": attempt.get("attempt"), **attempt["timeline"]}
        for name, stage in record["stages"].items()
        for attempt in stage["attempts"]
        if "timeline" in attempt
    ]
    if output is not None:
        _write(directory, output, record, rows)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    elif output is None:
        _print(rows)
    else:
        typer.echo(f"{output}: timeline of {record['run']}")


def _write(directory: Path, output: Path, record: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    from cryorepro.report.timeline_plot import plot_timeline
    from cryorepro.workflow.timeline import archive
    from cryorepro.workflow.timeline.perturbed import Flag

    if output.suffix != ".svg":
        raise InputError(f"{output}: a timeline is written as .svg")
    if output.exists():
        raise InputError(f"{output}: exists already")
    flags = [(row["stage"], Flag(**flag)) for row in rows for flag in row["perturbed"]]
    title = f"{record['settings']['benchmark']}, run {record['run']}"
    plot_timeline(archive.load(directory / archive.FILE), output, title, flags)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "stage", "samples", "cores", "others", "memory", "read", "written", "cached", "energy", "perturbed",
        box=None, pad_edge=False,
    )  # fmt: skip
    for row in rows:
        mean, peak, energy = (row.get(part) or {} for part in ("mean", "peak", "energy_joules"))
        joules = [value for value in energy.values() if value is not None]
        words = ", ".join(dict.fromkeys(flag["reason"] for flag in row["perturbed"]))
        cached = row.get("inputs_cached_at_start")
        table.add_row(
            row["stage"], str(row["samples"]), _shown(mean.get("stage_cores")), _shown(mean.get("other_cores")),
            _shown(peak.get("stage_memory_bytes"), 1e-6, " MB"), _shown(mean.get("read_bytes"), 1e-6, " MB/s"),
            _shown(mean.get("written_bytes"), 1e-6, " MB/s"), "-" if cached is None else f"{cached:.0%}",
            f"{sum(joules):.0f} J" if joules else "-", escape(words) or "no",
        )  # fmt: skip
    out = Console()
    out.print(table)
    for row in rows:
        for flag in row["perturbed"]:
            out.print(f"{row['stage']}: {flag['reason']}: {flag['detail']}", markup=False, highlight=False)


def _shown(value: float | None, factor: float = 1.0, unit: str = "") -> str:
    return "-" if value is None else f"{value * factor:.3g}{unit}"
