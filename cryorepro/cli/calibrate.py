"""``cryorepro calibrate``: margins from an ensemble of runs, written into a benchmark with their reason."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.compare.margins.propose import Proposal, Settings
    from cryorepro.model.benchmark import Benchmark

INTERRUPTED = 130
WIDE, ENOUGH_RUNS = 5.0, 10


def calibrate_command(
    benchmark: Annotated[str, typer.Argument(help="Name of a benchmark, or its YAML file.")],
    runs: Annotated[str | None, typer.Option(help="ID,ID,…: take these runs, sets or bundles; nothing is run.")] = None,
    of_set: Annotated[str | None, typer.Option("--set-of-runs", help="Take the members of this set.")] = None,
    tier: Annotated[str | None, typer.Option(help="twin, subset or full; default as the benchmark says.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the ensemble to run.")] = "1,2,3,4,5,6",
    threads: Annotated[str | None, typer.Option(help="1,2: numbers of threads, each a condition of its own.")] = None,
    runner: Annotated[list[str] | None, typer.Option(help="As for reproduce; each is a condition of its own.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="STAGE.PARAMETER=VALUE, as for reproduce.")] = None,
    data: Annotated[Path | None, typer.Option(help="A local copy of the data.")] = None,
    coverage: Annotated[
        float, typer.Option(help="Share of further runs the margin is to hold.", min=0.5, max=0.999)
    ] = 0.95,
    confidence: Annotated[float, typer.Option(help="Confidence in that share.", min=0.5, max=0.999)] = 0.9,
    write: Annotated[
        bool, typer.Option("--write", help="Edit the YAML file; without it the patch is printed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Propose margins from an ensemble of runs: repeatability and reproducibility apart (ISO 5725-2).

    Every third run of a condition is held out and must lie inside the margin that the others give.
    """
    from cryorepro.compare.margins.patch import difference, patched
    from cryorepro.compare.margins.patch import write as write_file
    from cryorepro.compare.margins.propose import Settings, propose
    from cryorepro.compare.reproduce import find_spec
    from cryorepro.compare.verdict.ask import not_replicates
    from cryorepro.model.benchmark import Benchmark
    from cryorepro.model.strict_yaml import load_record
    from cryorepro.plugins.loader import load_catalogue

    spec = find_spec(load_catalogue(), benchmark)
    record = load_record(spec, Benchmark)
    if runs or of_set:
        found = _taken(record, ",".join(filter(None, (runs, of_set))), tier)
    else:
        found = _run(spec, record, tier, seeds, threads, runner, setting, data, as_json)
    apart = not_replicates(record, found)
    if apart is not None:
        raise InputError(f"these runs are no ensemble of one experiment: {apart.reasons('science')[0]}")
    chosen_tier = found[0]["settings"]["tier"]
    proposals = propose(record, chosen_tier, found, Settings(coverage, confidence))
    new = patched(spec, chosen_tier, proposals)
    if as_json:
        typer.echo(json.dumps({"runs": len(found), "proposals": [asdict(row) for row in proposals]}, indent=1))
    else:
        _print(proposals, found, Settings(coverage, confidence))
    if write:
        write_file(spec, new)
        typer.echo(f"{spec}: {sum(row.margin is not None for row in proposals)} margins written", err=True)
    elif not as_json:
        typer.echo(difference(spec, new), nl=False)


def _taken(benchmark: Benchmark, names: str, tier: str | None) -> list[dict[str, Any]]:
    from cryorepro.bundle.sides import load_sides
    from cryorepro.store.home import Home

    sides = load_sides(Home.locate(), [name for name in names.split(",") if name])
    for side in sides:
        settings = side.record["settings"]
        if settings["benchmark"] != benchmark.name:
            raise InputError(f"run {side.name} is of benchmark '{settings['benchmark']}', not '{benchmark.name}'")
        if tier is not None and settings["tier"] != tier:
            raise InputError(f"run {side.name} is of tier '{settings['tier']}', not '{tier}'")
    return [side.record for side in sides]


def _run(
    spec: Path, benchmark: Benchmark, tier: str | None, seeds: str, threads: str | None, runners: list[str] | None,
    setting: list[str] | None, data: Path | None, as_json: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    from cryorepro.cli.progress import choose_listener
    from cryorepro.compare.ensemble.plan import parse_seeds
    from cryorepro.compare.margins.ensemble import run_ensemble
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.store.home import Home
    from cryorepro.workflow.options import RunOptions, parse_settings

    stages, data_parameters = parse_settings(setting or [])
    chosen = tier or ("subset" if data else benchmark.default_tier)
    if chosen not in ("twin", "subset", "full"):
        raise InputError(f"--tier {chosen}: the tiers are twin, subset and full")
    base = RunOptions(
        tier=chosen, overrides=stages, data_parameters=data_parameters, data_path=data.resolve() if data else None
    )
    listener = (lambda _kind, _content: None) if as_json else choose_listener(False)
    found, interrupted = run_ensemble(
        Home.locate().ensure(), load_catalogue(), spec, base, runners or [""], parse_seeds(seeds, None, 1),
        _threads(threads), listener, sys.argv[1:],
    )  # fmt: skip
    if interrupted is not None:
        print(f"interrupted; go on with: cryorepro resume {interrupted}, then --set-of-runs", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    return found


def _threads(text: str | None) -> list[int]:
    if text is None:
        return [len(os.sched_getaffinity(0))]
    try:
        found = [int(item) for item in text.split(",")]
    except ValueError as error:
        raise InputError(f"--threads {text}: expected whole numbers separated by commas") from error
    if any(not 1 <= number <= 4096 for number in found) or len(set(found)) < len(found):
        raise InputError(f"--threads {text}: expected different numbers from 1 to 4096")
    return found


def _print(proposals: list[Proposal], runs: list[dict[str, Any]], settings: Settings) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    from cryorepro.compare.margins.propose import condition_of, factor_of

    out = Console()
    for label, count in Counter(condition_of(run) for run in runs).items():
        out.print(f"condition: {label}: {count} runs", markup=False, highlight=False)
    table = Table(title=f"MARGINS from {len(runs)} runs", title_justify="left", box=None, pad_edge=False)
    for column in ("outcome", "n", "mean", "repeatability", "reproducibility", "expected", "margin", "held out"):
        table.add_column(column, overflow="fold")
    for row in proposals:
        parts = row.parts
        cells = ["-", "-", "-", "-"] if parts is None else [
            str(parts.runs), f"{parts.mean:.4g}", f"{parts.repeatability:.2g}",
            "-" if parts.reproducibility is None else f"{parts.reproducibility:.2g}",
        ]  # fmt: skip
        expected = "-" if row.value is None else f"{row.old_value:g} -> {row.value:g}"
        margin = "none proposed" if row.margin is None else f"{row.old_margin:g} -> {row.margin:g} {row.unit}"
        table.add_row(row.outcome, *cells, expected, margin, f"{row.held_out} inside, {len(row.moved)} widened it")
    out.print(table)
    wide = [(row, factor) for row in proposals if (factor := factor_of(row, settings)) and factor > WIDE]
    if wide:
        row, factor = max(wide, key=lambda pair: pair[1])
        later = factor_of(row, settings, ENOUGH_RUNS)
        text = f"few runs: a margin is {factor:.1f} SD wide; with {ENOUGH_RUNS} to learn from it would be {later:.1f}"
        out.print(Padding(text, (0, 0, 0, 2)), highlight=False)
    for row in proposals:
        out.print(Padding(escape(f"{row.outcome}: {row.reason}"), (0, 0, 0, 2)), highlight=False)
