"""``cryorepro fetch``: bring a tier of a dataset into the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from cryorepro.em.errors import InputError

METHODS = ("https", "aspera", "globus", "wget", "lftp")


def fetch_command(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset, such as empiar-10028.")],
    tier: Annotated[str, typer.Option(help="subset or full.")] = "subset",
    dry_run: Annotated[bool, typer.Option(help="Show what would be fetched, and how; ask nobody.")] = False,
    count: Annotated[int | None, typer.Option(help="Particles or movies of the subset.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Draws the subset.", min=0)] = 1,
    extras: Annotated[
        str | None, typer.Option("--with", help="map, half-maps, fsc, model: comma-separated, or none.")
    ] = None,
    connections: Annotated[int, typer.Option(help="Ranges read at once.", min=1, max=32)] = 8,
    limit_rate: Annotated[str | None, typer.Option(help="Bytes per second: 500k, 20M.")] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="Only this file of the entry, by its path; repeatable.")
    ] = None,
    method: Annotated[str, typer.Option(help="https; aspera, globus, wget or lftp print their command.")] = "https",
) -> None:
    """Fetch a tier of a dataset, verified and resumable; the same command again goes on where it stopped."""
    from cryorepro.cli.transfers import print_delivery, show_transfer
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.plugins.types import Dataset
    from cryorepro.store.home import Home
    from cryorepro.workflow.fetch.deliver import deliver, deliver_files
    from cryorepro.workflow.fetch.open import open_archive
    from cryorepro.workflow.fetch.orders import make_order, make_settings, preview

    if method not in METHODS:
        raise InputError(f"--method {method}: the methods are {', '.join(METHODS)}")
    info = load_catalogue().get(Dataset, dataset).descriptor.info
    settings = make_settings(connections, limit_rate)
    order = None if file else make_order(info, tier, count, seed, extras)
    if order is not None:
        lines = preview(order, Home.locate().cache)
        if dry_run:
            typer.echo("\n".join(lines))
            return
        if method != "https":
            typer.echo(next(line for line in lines if line.startswith(f"{method} ")).removeprefix(method).strip())
            return
    try:
        with show_transfer() as (meter, notice), open_archive(info, settings, meter, notice) as archive:
            delivery = deliver(order, archive) if order is not None else deliver_files(file or [], archive)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    print_delivery(delivery, meter)
