"""``cryorepro power``: how often a number of runs decides, before they are run."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer


def power_command(
    margin: Annotated[float, typer.Option(help="The declared margin, in the outcome's unit.", min=0)],
    spread: Annotated[float, typer.Option(help="SD from run to run, in the same unit.", min=0)],
    shift: Annotated[float, typer.Option(help="The true difference from what is expected.")] = 0.0,
    direction: Annotated[Literal["both", "at-least", "at-most"], typer.Option(help="As the margin declares.")] = "both",
    most: Annotated[int, typer.Option(help="Up to so many runs.", min=2, max=1000)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """The chances of each answer for 2, 3, … runs against a known figure, exactly."""
    from cryorepro.compare.equivalence import Band
    from cryorepro.compare.power import group_chances

    band = Band(margin, direction)
    rows = [(runs, group_chances(shift, spread, runs, band)) for runs in range(2, most + 1)]
    if as_json:
        found = [{"runs": n, "equivalent": c.inside, "diverged": c.outside, "inconclusive": c.open} for n, c in rows]
        typer.echo(json.dumps(found, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("runs", "equivalent", "diverged", "inconclusive", box=None, pad_edge=False)
    for runs, chance in rows:
        table.add_row(str(runs), *(f"{value:.3f}" for value in (chance.inside, chance.outside, chance.open)))
    Console().print(table)
