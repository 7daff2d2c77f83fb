"""``cryorepro verdict``: a verdict over runs that are there already."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.model.benchmark import Benchmark


def verdict_command(
    runs: Annotated[list[str], typer.Argument(help="Runs, run directories, bundles (.zip) or sets (set-…).")],
    against: Annotated[
        list[str] | None, typer.Option(help="Hold them against these instead of what is expected; repeatable.")
    ] = None,
    spec: Annotated[
        str | None, typer.Option(help="Margins of this benchmark (name or YAML), not of the copy the run has.")
    ] = None,
    require: Annotated[
        str | None,
        typer.Option(help="Exit code 0 only from this level on: identical, numerical, equivalent, within-band-n1."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Judge runs together, against what the benchmark expects or against other runs; exit codes as for reproduce."""
    from cryorepro.bundle.sides import load_sides
    from cryorepro.compare.verdict.ask import ask
    from cryorepro.compare.verdict.words import exit_code, parse_level
    from cryorepro.store.home import Home

    level, home = parse_level(require), Home.locate()
    ours = load_sides(home, runs)
    theirs = load_sides(home, against) if against else []
    records, others = ([side.record for side in sides] for sides in (ours, theirs))
    own = (theirs or ours)[0].benchmark
    verdict = ask(_margins(spec, own.name) if spec else own, records, others)
    code = exit_code(verdict["word"], level)
    if as_json:
        names = {"runs": [record["run"] for record in records], "against": [record["run"] for record in others]}
        typer.echo(json.dumps({**names, **verdict, "exit_code": code}, indent=1))
    else:
        _print([*others, *records], verdict)
    raise typer.Exit(code)


def _margins(name: str, wanted: str) -> Benchmark:
    from cryorepro.compare.reproduce import find_spec
    from cryorepro.model.benchmark import Benchmark
    from cryorepro.model.strict_yaml import load_record
    from cryorepro.plugins.loader import load_catalogue

    benchmark = load_record(find_spec(load_catalogue(), name), Benchmark)
    if benchmark.name != wanted:
        raise InputError(f"--spec {name}: is benchmark '{benchmark.name}', and the runs are of '{wanted}'")
    return benchmark


def _print(records: list[dict[str, Any]], verdict: dict[str, Any]) -> None:
    from rich.console import Console

    from cryorepro.cli.set_tables import print_groups, print_members
    from cryorepro.cli.verdict import word

    out = Console()
    members = [
        {
            "run": record["run"],
            "runner": ", ".join(dict.fromkeys(record["settings"]["runners"].values())),
            "seed": record["settings"]["seed"],
            "status": record["status"],
            "reason": record["reason"],
        }
        for record in records
    ]
    print_members(out, members, records)
    print_groups(out, verdict)
    if verdict.get("reason"):
        out.print(f"  not replicates of each other: {verdict['reason']}", markup=False, highlight=False)
    out.print(f"Verdict [bold]{word(verdict['word'])}[/bold]   {len(records)} runs", highlight=False)
