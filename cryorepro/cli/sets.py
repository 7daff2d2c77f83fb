"""Sets of replicates on the command line: started, taken up again, listed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryorepro.compare.ensemble.plan import Member
    from cryorepro.model.outcome import OutcomeWord
    from cryorepro.plugins.catalogue import Catalogue
    from cryorepro.store.home import Home
    from cryorepro.workflow.plan import RunPlan


def start_and_finish(
    catalogue: Catalogue, spec: Path, plan: RunPlan, chosen: Sequence[Member], level: OutcomeWord | None, as_json: bool
) -> NoReturn:
    """Run a set to its verdict. Every member is planned before the first one starts."""
    from cryorepro.compare.ensemble.plan import options_of
    from cryorepro.compare.ensemble.run import start_set
    from cryorepro.compare.reproduce import require_runners
    from cryorepro.store.home import Home
    from cryorepro.workflow.plan import make_plan

    for member in chosen:
        require_runners(catalogue, make_plan(catalogue, spec, options_of(member, plan.options)))
    home = Home.locate().ensure()
    _go_on(home, catalogue, start_set(home, plan, chosen, sys.argv[1:]), level, as_json)


def resume_and_finish(name: str, level: OutcomeWord | None, as_json: bool) -> NoReturn:
    """Take a set up again, to its verdict."""
    from cryorepro.plugins.loader import load_catalogue
    from cryorepro.store.home import Home
    from cryorepro.store.sets import find_set

    home = Home.locate()
    _go_on(home, load_catalogue(), find_set(home, name), level, as_json)


def _go_on(home: Home, catalogue: Catalogue, directory: Path, level: OutcomeWord | None, as_json: bool) -> NoReturn:
    from cryorepro.cli.progress import choose_listener, print_json_line
    from cryorepro.cli.set_tables import print_set
    from cryorepro.compare.ensemble.run import continue_set, member_runs
    from cryorepro.store.errors import StoreError
    from cryorepro.store.ingest import open_for_reading

    listener = choose_listener(as_json)
    listener("set_started", {"set": directory.name})
    record = continue_set(home, catalogue, directory, listener, level)
    try:
        open_for_reading(home).close()
    except StoreError as error:
        print(f"cryorepro: the set is complete, the index is not: {error}", file=sys.stderr)
    if as_json:
        keys = ("set", "status", "members", "verdict", "exit_code")
        print_json_line("result", {key: record[key] for key in keys})
    else:
        print_set(record, member_runs(home, directory))
    raise typer.Exit(record["exit_code"])


def show_set(name: str, as_json: bool) -> None:
    """A set: its members, failed ones included, and its verdict."""
    from cryorepro.cli.set_tables import print_set
    from cryorepro.compare.ensemble.record import find_set, set_record
    from cryorepro.compare.ensemble.run import member_runs
    from cryorepro.store.home import Home

    home = Home.locate()
    directory = find_set(home, name)
    record = set_record(directory)
    if as_json:
        typer.echo(json.dumps(record, indent=1, sort_keys=True))
    else:
        print_set(record, member_runs(home, directory))


def list_sets(as_json: bool) -> None:
    """The sets in the store, newest first."""
    from rich.console import Console
    from rich.table import Table

    from cryorepro.store.home import Home
    from cryorepro.store.ingest import open_for_reading
    from cryorepro.store.sets import list_sets as rows_of

    with open_for_reading(Home.locate()) as index:
        rows: list[dict[str, Any]] = rows_of(index)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(title="sets", title_justify="left", box=None, pad_edge=False)
    table.add_column("set", no_wrap=True)
    for column in ("benchmark", "tier", "runs", "completed", "failed", "status", "verdict"):
        table.add_column(column)
    for row in rows:
        counts = [str(row[name]) for name in ("members", "completed", "failed")]
        table.add_row(row["set_uid"], row["benchmark"], row["tier"], *counts, row["status"], row["verdict"] or "-")
    Console().print(table)
