"""``cryorepro bench``: how fast this machine is, and beside others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.compare.bench import BenchComparison, Cell
    from cryorepro.model.bench import BenchRecord

bench_app = typer.Typer(help="Measure this machine at what cryo-EM does, and compare machines.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_GROUPS: dict[str, tuple[Literal["fs", "cpu", "gpu"], ...]] = {
    "fs": ("fs",), "cpu": ("cpu",), "gpu": ("gpu",), "all": ("fs", "cpu", "gpu"),
}  # fmt: skip
Size = Annotated[str, typer.Option(help="tiny, default or published.")]
Directory = Annotated[Path, typer.Option(help="Where files are written and read: the filesystem to measure.")]
Cache = Annotated[Path | None, typer.Option(help="A directory on a cache device, read as well.")]
Threads = Annotated[int | None, typer.Option(help="Threads or processes; default all this process may use.", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Spread = Annotated[float, typer.Option(help="Repeat until half the interquartile range is this part of the median.")]
Most = Annotated[int, typer.Option("--repeats", help="At most so many repeats.", min=1)]
Limit = Annotated[float, typer.Option(help="Seconds for the repeats of one group.", min=1)]
Title = Annotated[str | None, typer.Option(help="A name for this machine that others may read.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="JSON file to write.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="CSV file to write.")]
Cryosparc = Annotated[Path | None, typer.Option("--cryosparc", help="JSON file in CryoSPARC's field names to write.")]


def _measure(
    group: str,
    size: Size = "default",
    directory: Directory = Path(),
    cache_directory: Cache = None,
    threads: Threads = None,
    device: Device = "auto",
    spread: Spread = 0.02,
    repeats: Most = 7,
    limit: Limit = 35.0,
    title: Title = None,
    output: Output = None,
    csv: Csv = None,
    cryosparc: Cryosparc = None,
    as_json: Json = False,
) -> None:
    import os

    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.workflow.bench.rounds import Policy
    from cryorepro.workflow.bench.run import BenchOptions, run_bench
    from cryorepro.workflow.bench.sizes import sizes_named
    from cryorepro.workflow.fingerprint import take_fingerprint

    for path in (output, csv, cryosparc):
        if path is not None and path.exists():
            raise InputError(f"{path}: exists already")
    options = BenchOptions(
        groups=_GROUPS[group],
        size_name=size,
        sizes=sizes_named(size),
        directory=directory.resolve(),
        cache_directory=cache_directory.resolve() if cache_directory else None,
        threads=threads or len(os.sched_getaffinity(0)),
        device=_device(device),
        policy=Policy(wanted_spread=spread, fewest=min(3, repeats), most=repeats, limit_s=limit),
        title=title,
    )
    roles = {"input": options.directory, "scratch": options.cache_directory or options.directory}
    tell = (lambda _: None) if as_json else (lambda name: print(name, file=sys.stderr))
    record = run_bench(options, lambda: take_fingerprint(load_catalogue(), roles), tell)
    _write(record, output, csv, cryosparc)
    if as_json:
        typer.echo(record.model_dump_json(indent=1))
    else:
        _print_record(record)


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {name}: expected auto, cpu or cuda")
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise InputError("--device cuda: torch sees no GPU here")
    return "cpu"


def _command(group: str, summary: str) -> None:
    def measure(
        size: Size = "default", directory: Directory = Path(), cache_directory: Cache = None, threads: Threads = None,
        device: Device = "auto", spread: Spread = 0.02, repeats: Most = 7, limit: Limit = 35.0, title: Title = None,
        output: Output = None, csv: Csv = None, cryosparc: Cryosparc = None, as_json: Json = False,
    ) -> None:  # fmt: skip
        _measure(
            group, size, directory, cache_directory, threads, device, spread, repeats, limit, title, output, csv,
            cryosparc, as_json,
        )  # fmt: skip

    bench_app.command(group, help=summary)(measure)


_command("fs", "Reading movies and particles, from a cold cache that is looked at.")
_command("cpu", "Decompression of TIFF and EER apart from I/O; transforms and matrix products.")
_command("gpu", "FSC, filters, picking and the engine tests A to N; on the CPU, and said so, where there is no GPU.")
_command("all", "All three.")


@bench_app.command("compare")
def compare_command(
    records: Annotated[list[str], typer.Argument(help="JSON files, or references of the registry.")],
    reference: Annotated[int, typer.Option(help="Which of them is the reference, from 1.", min=1)] = 1,
    details: Annotated[bool, typer.Option("--details", help="Also the parts of each test.")] = False,
    as_json: Json = False,
) -> None:
    """Time, share and speed-up against a reference; tests that did other work are marked, not compared."""
    from cryorepro.compare.bench import compare_bench
    from cryorepro.compare.bench_files import load_bench

    loaded = [load_bench(name) for name in records]
    names = [record.title or Path(name).stem for name, record in zip(records, loaded, strict=True)]
    comparison = compare_bench(loaded, names, reference - 1)
    if as_json:
        typer.echo(comparison.model_dump_json(indent=1))
    else:
        _print_comparison(comparison, details)


@bench_app.command("check")
def check_command(
    files: Annotated[list[Path], typer.Argument(help="Records that are to be proposed to the registry.")],
) -> None:
    """Whether a record may be contributed; nothing is ever sent, a person proposes it through git."""
    from cryorepro.compare.bench_check import check_contribution

    found = [(path, problem) for path in files for problem in check_contribution(path)]
    for path, problem in found:
        typer.echo(f"{path}: {problem}")
    if found:
        raise typer.Exit(2)
    typer.echo(f"{len(files)} records can be proposed")


def _write(record: BenchRecord, output: Path | None, csv: Path | None, cryosparc: Path | None) -> None:
    from cryorepro.compare.bench_cryosparc import to_cryosparc
    from cryorepro.compare.bench_files import as_csv

    if output is not None:
        output.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if csv is not None:
        csv.write_text(as_csv(record), encoding="utf-8")
    if cryosparc is not None:
        cryosparc.write_text(json.dumps(to_cryosparc(record), indent=1) + "\n", encoding="utf-8")


def _print_record(record: BenchRecord) -> None:
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


def _print_comparison(comparison: BenchComparison, details: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = Console()
    table = Table("test", box=None, pad_edge=False)
    for place, name in enumerate(comparison.names):
        table.add_column(escape(name) + (" (reference)" if place == comparison.reference else ""))
    for row in comparison.rows:
        table.add_row(row.test, *(escape(_shown(cell)) for cell in row.cells))
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
