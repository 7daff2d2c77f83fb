"""``cryorepro bench``: how fast this machine is, and beside others."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.model.bench import BenchRecord

bench_app = typer.Typer(help="Measure this machine at what cryo-EM does, and compare machines.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
THREADS_A_CORE = 8
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
Only = Annotated[list[str] | None, typer.Option(help="Only tests called so, such as 'fs_particles_*'; repeatable.")]
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
    only: Only = None,
    title: Title = None,
    output: Output = None,
    csv: Csv = None,
    cryosparc: Cryosparc = None,
    as_json: Json = False,
) -> None:
    import os

    from cryorepro.cli.bench_tables import print_record
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.workflow.bench.rounds import Policy
    from cryorepro.workflow.bench.run import BenchOptions, run_bench
    from cryorepro.workflow.bench.sizes import sizes_named
    from cryorepro.workflow.fingerprint import take_fingerprint

    _check(output, csv, cryosparc, threads, spread, limit)
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
        only=tuple(only or ()),
    )
    roles = {"input": options.directory, "scratch": options.cache_directory or options.directory}
    tell = (lambda _: None) if as_json else (lambda name: print(name, file=sys.stderr))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    record = run_bench(options, lambda: take_fingerprint(load_catalogue(), roles), tell)
    # Shown first: a disk that is full by now loses the files, not the minutes.
    if as_json:
        typer.echo(record.model_dump_json(indent=1))
    else:
        print_record(record)
    _write(record, output, csv, cryosparc)


def _check_writable(path: Path) -> None:
    import tempfile

    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(f"{path}: {path.parent} is no directory that can be written ({error.strerror})") from error


def _stop(number: int, _frame: object) -> NoReturn:
    """Asked to end: gigabytes of files are removed on the way out."""
    raise SystemExit(128 + number)


def _check(
    output: Path | None, csv: Path | None, cryosparc: Path | None, threads: int | None, spread: float, limit: float
) -> None:
    """Refuse before minutes of measuring what would spoil them at their end."""
    import math
    import os

    for path in (output, csv, cryosparc):
        if path is not None and path.exists():
            raise InputError(f"{path}: exists already")
        if path is not None:
            _check_writable(path)
    most = THREADS_A_CORE * len(os.sched_getaffinity(0))
    if threads is not None and threads > most:
        raise InputError(f"--threads {threads}: at most {most} here, {THREADS_A_CORE} for each core")
    if not 0.0 < spread <= 1.0:
        raise InputError(f"--spread {spread:g}: expected a part of the median, above 0 and at most 1")
    if not math.isfinite(limit):
        raise InputError(f"--limit {limit:g}: expected seconds")


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
        device: Device = "auto", spread: Spread = 0.02, repeats: Most = 7, limit: Limit = 35.0, only: Only = None,
        title: Title = None, output: Output = None, csv: Csv = None, cryosparc: Cryosparc = None, as_json: Json = False,
    ) -> None:  # fmt: skip
        _measure(
            group, size, directory, cache_directory, threads, device, spread, repeats, limit, only, title,
            output, csv, cryosparc, as_json,
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
    from cryorepro.cli.bench_tables import print_comparison
    from cryorepro.compare.bench import compare_bench
    from cryorepro.compare.bench_files import load_bench

    loaded = [load_bench(name) for name in records]
    names = [record.title or Path(name).stem for name, record in zip(records, loaded, strict=True)]
    comparison = compare_bench(loaded, names, reference - 1)
    if as_json:
        typer.echo(comparison.model_dump_json(indent=1))
    else:
        print_comparison(comparison, details)


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
    from cryorepro.store.files import write_atomically

    if output is not None:
        write_atomically(output, (record.model_dump_json(indent=1) + "\n").encode())
    if csv is not None:
        write_atomically(csv, as_csv(record).encode())
    if cryosparc is not None:
        write_atomically(cryosparc, (json.dumps(to_cryosparc(record), indent=1) + "\n").encode())
