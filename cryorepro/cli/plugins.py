"""``cryorepro plugins``: what is installed, what was refused and why, and whether it could work here."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.doctor import Diagnosis, doctor
from cryorepro.plugins.listing import listing
from cryorepro.plugins.loader import load_catalogue
from cryorepro.plugins.types import API_VERSION

plugins_app = typer.Typer(help="List, trace and diagnose plugins.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@plugins_app.command("list")
def list_command(
    as_json: Json = False,
    tracebacks: Annotated[bool, typer.Option(help="Show where refused plugins failed.")] = False,
) -> None:
    """What each plugin contributes, with its distribution and version, and why one was refused."""
    catalogue = load_catalogue()
    if as_json:
        typer.echo(json.dumps(listing(catalogue), indent=2))
        return
    console = Console()
    console.print(_plugin_table(catalogue))
    for refusal in catalogue.refusals:
        source = f"{refusal.distribution} {refusal.version}"
        console.print(f"[red]refused[/red] {escape(f'{refusal.plugin} ({source}): {refusal.error}')}")
        if tracebacks:
            console.print(escape(refusal.traceback))
    if catalogue.disabled:
        console.print(f"disabled: {escape(', '.join(catalogue.disabled))}")
    for note in catalogue.notes:
        console.print(f"note: {escape(note)}")


def _plugin_table(catalogue: Catalogue) -> Table:
    table = Table("plugin", "distribution", "version", "api", "contributes", title=f"plugin API {API_VERSION}")
    for plugin in catalogue.plugins:
        version = plugin.version + (" (editable)" if plugin.provenance.editable else "")
        given = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in plugin.contributes.items())
        table.add_row(*map(escape, (plugin.name, plugin.distribution, version, plugin.api, given or "nothing")))
    return table


@plugins_app.command("trace")
def trace_command(as_json: Json = False) -> None:
    """Every import and hook call of loading, in order, with its time and what it gave."""
    calls = load_catalogue().calls
    if as_json:
        typer.echo(json.dumps([asdict(call) for call in calls], indent=2))
        return
    table = Table("plugin", "distribution", "hook", "ms", "gave")
    for call in calls:
        gave = escape(", ".join(call.descriptors)) if call.error is None else f"[red]{escape(call.error)}[/red]"
        table.add_row(escape(call.plugin), escape(call.distribution), call.hook, f"{call.seconds * 1e3:.1f}", gave)
    Console().print(table)


@plugins_app.command("doctor")
def doctor_command(
    as_json: Json = False,
    deep: Annotated[bool, typer.Option(help="Also import every implementation, each in another process.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds one import may take.", min=0.1)] = 60.0,
) -> None:
    """Whether each contribution could work on this machine, and what is missing where it could not.

    Exit code 1 when one is broken or a plugin was refused; a missing requirement is not an error.
    """
    catalogue = load_catalogue()
    rows = doctor(catalogue, deep, timeout)
    if as_json:
        refused = listing(catalogue)["refused"]
        typer.echo(json.dumps({"diagnoses": [asdict(row) for row in rows], "refused": refused}, indent=2))
    else:
        _print_diagnoses(rows, catalogue)
    if catalogue.refusals or any(row.status == "broken" for row in rows):
        raise typer.Exit(1)


def _print_diagnoses(rows: list[Diagnosis], catalogue: Catalogue) -> None:
    colours = {"ok": "green", "missing-requirement": "yellow", "broken": "red"}
    table = Table("kind", "name", "plugin", "status", "why")
    for row in rows:
        why = escape("\n".join((*row.reasons, *row.notes)))
        status = f"[{colours[row.status]}]{row.status}[/]"
        table.add_row(row.kind[:-1], escape(row.name), escape(f"{row.plugin} ({row.distribution})"), status, why)
    console = Console()
    console.print(table)
    for refusal in catalogue.refusals:
        sentence = f"{refusal.plugin} ({refusal.distribution} {refusal.version}): {refusal.error}"
        console.print(f"[red]refused[/red] {escape(sentence)}")
