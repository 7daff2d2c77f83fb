"""``cryorepro fingerprint``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def fingerprint_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Measure this machine as a run would."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cryorepro.compare.runs import flatten
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.workflow.fingerprint import take_fingerprint

    here = Path.cwd()
    probes = take_fingerprint(load_catalogue(), {"input": here, "scratch": here, "output": here})
    if as_json:
        typer.echo(json.dumps([probe.model_dump(mode="json") for probe in probes], indent=1))
        return
    table = Table("probe", "field", "value")
    for probe in probes:
        if probe.status == "failed":
            table.add_row(probe.name, "[red]failed[/red]", escape(probe.error or ""))
        for field, value in flatten(probe.data).items():
            text = str(value)
            table.add_row(probe.name, escape(field), escape(text if len(text) <= 100 else text[:97] + "…"))
    Console().print(table)
