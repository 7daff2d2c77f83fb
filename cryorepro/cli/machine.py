"""``cryorepro fingerprint``: this machine, and two machines side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cryorepro.compare.fingerprints import FingerprintDiff
    from cryorepro.model.fingerprint import ProbeResult

fingerprint_app = typer.Typer(help="Measure this machine as a run would, or compare two machines.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@fingerprint_app.callback(invoke_without_command=True)
def fingerprint_command(
    context: typer.Context,
    as_json: Json = False,
    show_private: Annotated[
        bool, typer.Option("--show-private", help="Also print raw readings, which can name people and paths.")
    ] = False,
) -> None:
    """Measure this machine as a run would."""
    if context.invoked_subcommand is not None:
        return
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.workflow.fingerprint import take_with_raw

    here = Path.cwd()
    probes, raw = take_with_raw(load_catalogue(), {"input": here, "scratch": here, "output": here})
    if as_json:
        content: Any = [probe.model_dump(mode="json") for probe in probes]
        typer.echo(json.dumps({"fingerprint": content, "private": raw} if show_private else content, indent=1))
        return
    _print_probes(probes)
    if show_private:
        for name, reading in raw.items():
            for source, text in reading["raw"].items():
                typer.echo(f"--- {name} (parser {reading['parser']}): {source}\n{text}")


@fingerprint_app.command("diff")
def diff_command(
    first: Annotated[str, typer.Argument(help="A run, or a JSON file with a fingerprint.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    as_json: Json = False,
) -> None:
    """What differs between two machines, and whether it can change numbers, times or neither."""
    from cryorepro.compare.fingerprint_files import find_fingerprint
    from cryorepro.compare.fingerprints import diff_fingerprints

    diff = diff_fingerprints(find_fingerprint(first), find_fingerprint(second))
    if as_json:
        typer.echo(diff.model_dump_json(indent=1))
    else:
        _print_diff(diff, first, second)


def _print_probes(probes: list[ProbeResult]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cryorepro.compare.fingerprints import flat_probe

    table = Table("probe", "field", "value")
    for probe in probes:
        if probe.status == "failed":
            table.add_row(probe.name, "[red]failed[/red]", escape(probe.error or ""))
        for field, value in flat_probe(probe).items():
            table.add_row(probe.name, escape(field.removeprefix(f"{probe.name}.")), escape(_short(value, 100)))
    Console().print(table)


_TITLES = {
    "science": "differs (science): can change numbers, and times",
    "performance": "differs (performance): can change times, not numbers",
    "neither": "differs (neither)",
}


def _print_diff(diff: FingerprintDiff, first: str, second: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cryorepro.compare.fingerprints import list_difference

    out = Console()
    out.print(f"same: {diff.same} fields (rules version {diff.rules_version})", highlight=False)
    for effect, title in _TITLES.items():
        rows = [row for row in diff.differs if row.effect == effect]
        out.print(f"[bold]{title}[/bold]: {len(rows) or 'none'}", highlight=False)
        if not rows:
            continue
        table = Table(box=None, pad_edge=False)
        table.add_column("field", overflow="fold", min_width=28)
        for title in (Path(first).name, Path(second).name, "because"):
            table.add_column(escape(title), overflow="fold")
        for row in rows:
            apart = list_difference(row.left, row.right)
            left, right = (f"only {apart[0]}", f"only {apart[1]}") if apart else (row.left, row.right)
            table.add_row(escape(row.field), escape(_short(left, 60)), escape(_short(right, 60)), escape(row.reason))
        out.print(table)


def _short(value: Any, longest: int) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"
