"""``cryorepro data``: what is cached, whether it is still what was fetched, and where."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

data_app = typer.Typer(help="Cached files of public archives: list, verify, find.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@data_app.command("list")
def list_command(as_json: Json = False) -> None:
    """Datasets in the cache: files, bytes, unfinished transfers."""
    from rich.console import Console
    from rich.table import Table

    from cryorepro.store.home import Home
    from cryorepro.workflow.fetch.inventory import inventory
    from cryorepro.workflow.fetch.space import human

    rows = inventory(Home.locate().cache)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table("dataset", "files", "size", "unfinished", "last fetched", box=None, pad_edge=False)
    for row in rows:
        unfinished = f"{row.partial_files} ({human(row.partial_bytes)})" if row.partial_files else "-"
        table.add_row(row.dataset, str(row.files), human(row.size_bytes), unfinished, row.last_fetched_at or "-")
    Console().print(table)
    typer.echo(f"cache: {Home.locate().cache}")


@data_app.command("verify")
def verify_command(
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset.")] = None,
    as_json: Json = False,
) -> None:
    """Read every cached byte again, and the prepared tiers; exit code 1 when one is not what was recorded."""
    from rich.console import Console

    from cryorepro.em.errors import InputError
    from cryorepro.store.home import Home
    from cryorepro.workflow.fetch.space import human
    from cryorepro.workflow.fetch.verify import BAD, datasets_in, verify_cache, verify_prepared

    home, console = Home.locate(), Console(stderr=True)
    names = [name for name in datasets_in(home.cache) if dataset in (None, name)]
    with console.status("reading") as status:  # shown on a terminal only
        findings = [finding for name in names for finding in verify_cache(home.cache, name, status.update)]
        findings += [found for found in verify_prepared(home.data, status.update) if dataset in (None, found.dataset)]
    if dataset is not None and not findings:
        raise InputError(f"nothing of '{dataset}' is cached in {home.root} or {home.cache}")
    bad = [finding for finding in findings if finding.state in BAD]
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            if finding.state != "ok":
                typer.echo(f"{finding.state:<10} {finding.dataset}/{finding.path}: {finding.reason}")
        good = [finding for finding in findings if finding.state == "ok"]
        typer.echo(f"{len(good)} files, {human(sum(f.size_bytes for f in good))}, as recorded; {len(bad)} are not")
    if bad:
        raise typer.Exit(1)


@data_app.command("path")
def path_command(
    dataset: Annotated[str, typer.Argument(help="A dataset.")],
    file: Annotated[str | None, typer.Argument(help="A file, as 'cryorepro data verify --json' names it.")] = None,
) -> None:
    """Where the cached files of a dataset are; exit code 2 when there are none."""
    from cryorepro.store.home import Home
    from cryorepro.workflow.fetch.inventory import cached_path

    typer.echo(cached_path(Home.locate().cache, dataset, file))


@data_app.command("remote")
def remote_command(
    dataset: Annotated[str, typer.Argument(help="A dataset.")],
    folder: Annotated[str, typer.Argument(help="A folder of its archive entry.")] = "",
) -> None:
    """What the archive holds: EMPIAR's own record of the image sets, and the names in a folder."""
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.plugins.types import Dataset
    from cryorepro.workflow.fetch.open import open_archive
    from cryorepro.workflow.fetch.outlook import outlook

    with open_archive(load_catalogue().get(Dataset, dataset).descriptor.info) as archive:
        typer.echo("\n".join(outlook(archive, folder)))
