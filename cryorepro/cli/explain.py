"""``cryorepro explain-diff``: whether two runs can be compared, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryorepro.compare.comparability.explain import Explanation

NOT_COMPARABLE = 5
SHOWN_MACHINE_ROWS = 12


def explain_diff_command(
    first: Annotated[str, typer.Argument(help="A run, a run's directory, imported/RUN, or a bundle (.zip).")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Whether the results and the times of two runs are comparable, with every reason.

    Exit code 5 when the results are not.
    """
    from cryorepro.bundle.sides import load_side
    from cryorepro.compare.comparability.explain import explain
    from cryorepro.store.home import Home

    home = Home.locate()
    one, other = load_side(home, first), load_side(home, second)
    found = explain(one.record, one.benchmark, other.record, other.benchmark)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        _print(found, one.name, other.name)
    raise typer.Exit(NOT_COMPARABLE if found.comparability.science == "not-comparable" else 0)


def _print(found: Explanation, first: str, second: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cryorepro.cli.verdict import word

    out, answer = Console(), found.comparability
    out.print(f"{escape(first)} | {escape(second)}", highlight=False)
    out.print(f"results {word(answer.science)}   times {word(answer.performance)}   rules@{answer.rules_version}")
    for label, pair in (("science key", found.science_sha256), ("performance key", found.performance_sha256)):
        same = "the same" if pair[0] == pair[1] else f"{pair[0][:16]} | {pair[1][:16]}"
        out.print(f"{label}: {same}", highlight=False)
    weights = {"breaks": "not comparable", "caveat": "caveat", "none": "-"}
    table = Table(box=None, pad_edge=False)
    for column in ("field", "first", "second", "weight", "why"):
        table.add_column(column, overflow="fold")
    order = list(weights)
    for row in sorted(answer.differences, key=lambda row: order.index(row.level)):
        cells = [escape(_short(value)) for value in (row.left, row.right)]
        table.add_row(row.field, *cells, weights[row.level], escape(row.reason))
    if answer.differences:
        out.print(table)
    machine = [row for row in found.machine.differs if row.effect != "neither"]
    out.print(f"machine: {found.machine.same} fields the same, {len(machine)} that matter differ", highlight=False)
    for field in machine[:SHOWN_MACHINE_ROWS]:
        text = f"  {field.effect}: {field.field}: {_short(field.left)} | {_short(field.right)} ({field.reason})"
        out.print(text, markup=False, highlight=False)
    if len(machine) > SHOWN_MACHINE_ROWS:
        out.print(f"  and {len(machine) - SHOWN_MACHINE_ROWS} more: --json", highlight=False)


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 34 else text[:31] + "…"
