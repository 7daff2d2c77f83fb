"""``cryorepro db``: the SQLite index, which can always be made again from the journals."""

from __future__ import annotations

import typer

db_app = typer.Typer(help="The SQLite index of runs.", no_args_is_help=True)


@db_app.command("rebuild")
def rebuild_command() -> None:
    """Make the index again from the runs' journals."""
    from cryorepro.store.home import Home
    from cryorepro.store.ingest import rebuild

    home = Home.locate()
    report = rebuild(home)
    typer.echo(f"{home.index}: {len(report.read)} runs from their journals")
    for run_uid in report.unverifiable:
        typer.echo(f"unverifiable: {run_uid}")


@db_app.command("path")
def path_command() -> None:
    """Print where the index is."""
    from cryorepro.store.home import Home

    typer.echo(str(Home.locate().index))
