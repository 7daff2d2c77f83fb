"""``cryorepro registry``: machines, prices and claims as data, checked; prices taken over from a provider's list."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

registry_app = typer.Typer(help="Machines, prices and claims as data.", no_args_is_help=True)
Directory = Annotated[
    Path | None, typer.Option("--directory", help="A registry of your own, instead of the shipped one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@registry_app.command("check")
def check_command(directory: Directory = None, as_json: Json = False) -> None:
    """Read every file strictly and say what does not fit together; exit code 1 when something does not."""
    from cryorepro.compare.bench_check import check_registered
    from cryorepro.model.registry_check import check_registry

    report = check_registry(directory, datetime.now(UTC).date())
    records, faults = check_registered(directory)
    report.counts["benchmark records"] = records
    report.problems.extend(faults)
    if as_json:
        typer.echo(json.dumps({"counts": report.counts, "problems": report.problems}, indent=1))
    else:
        for problem in report.problems:
            typer.echo(problem)
        counted = ", ".join(f"{count:,} {name}" for name, count in report.counts.items())
        typer.echo(f"{counted}: {len(report.problems) or 'no'} problem{'' if len(report.problems) == 1 else 's'}")
    raise typer.Exit(1 if report.problems else 0)


@registry_app.command("machines")
def machines_command(directory: Directory = None, as_json: Json = False) -> None:
    """The instances with their GPUs, memory and latest on-demand price."""
    from cryorepro.cli.machine_tables import print_instances
    from cryorepro.model.machines import load_machines

    machines = load_machines(directory)
    if as_json:
        records = [one.model_dump(mode="json", exclude_defaults=True) for one in machines.instances.values()]
        typer.echo(json.dumps(records, indent=1))
    else:
        print_instances(machines)


@registry_app.command("prices")
def prices_command(
    price_list: Annotated[Path, typer.Argument(help="AWS's bulk price list of EC2 for one region, JSON.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The instances.yaml to write.")],
    region: Annotated[str, typer.Option(help="Region code.")] = "us-east-1",
    directory: Directory = None,
) -> None:
    """Take on-demand prices over from the provider's own file; nothing is downloaded."""
    from cryorepro.model.machines import load_machines
    from cryorepro.model.price_list import read_price_list
    from cryorepro.model.price_update import update_prices, write_instances

    listed = read_price_list(price_list, region)
    source = f"AWS bulk price list of EC2, {region}, published {listed.published}"
    update = update_prices(load_machines(directory).instances, listed, source)
    write_instances(output, update.instances)
    for change in update.changes:
        typer.echo(change)
    unlisted = f"; not in the list: {', '.join(update.missing)}" if update.missing else ""
    typer.echo(f"{output}: {len(update.instances)} instances, {len(update.changes)} new prices{unlisted}")
