"""``cryorepro verdict``: a verdict over runs that are there already."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def verdict_command(
    runs: Annotated[list[str], typer.Argument(help="Runs, run directories, bundles (.zip) or sets (set-…).")],
    against: Annotated[
        list[str] | None, typer.Option(help="Hold them against these instead of what is expected; repeatable.")
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
    verdict = ask((theirs or ours)[0].benchmark, records, others)
    code = exit_code(verdict["word"], level)
    if as_json:
        names = {"runs": [record["run"] for record in records], "against": [record["run"] for record in others]}
        typer.echo(json.dumps({**names, **verdict, "exit_code": code}, indent=1))
    else:
        _print([*others, *records], verdict)
    raise typer.Exit(code)


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
