"""A set of runs for a person: every member, then the verdict of each runner's group, then the groups compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cryorepro.cli.verdict import word

Run = Mapping[str, Any]


def print_set(record: Mapping[str, Any], groups: Mapping[str, Sequence[Run]], console: Console | None = None) -> None:
    """The whole set: members with what each measured, failed ones included, and the verdict once there is one."""
    out = console or Console()
    settings = record["settings"]
    out.print(
        f"[bold]{escape(record['set'])}[/bold]  {settings['benchmark']} {settings['benchmark_version']}, tier "
        f"{settings['tier']}, {len(record['members'])} runs, status {record['status']}",
        highlight=False,
    )
    check = record["integrity"]
    state = "chain intact" + (", sealed" if check["sealed"] else ", not sealed") if check["intact"] else check["reason"]
    out.print(f"journal: {state}", markup=False, highlight=False)
    print_members(out, record["members"], [run for runs in groups.values() for run in runs])
    if record["verdict"] is None:
        out.print(f"go on with: cryorepro resume {record['set']}", markup=False, highlight=False)
        return
    print_groups(out, record["verdict"])
    out.print(f"Verdict [bold]{word(record['verdict']['word'])}[/bold]   {escape(record['set'])}", highlight=False)


def print_members(out: Console, members: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> None:
    """One line per member, in the order in which they ran, with every outcome."""
    by_run = {run["run"]: run for run in runs}
    names = list(dict.fromkeys(name for run in runs for name in run["outcomes"]))
    table = Table(title="RUNS, in their order", title_justify="left", box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for column in ("runner", "seed", "status", *names, "wall"):
        table.add_column(column)
    for member in members:
        run = by_run.get(member["run"] or "")
        cells = [_value(run, name) for name in names]
        status = member["status"] + (f": {member['reason']}" if member.get("reason") else "")
        wall = "-" if run is None else f"{_wall(run):.1f} s"
        runner = member["runner"] or "default"
        table.add_row(member["run"] or "-", escape(runner), str(member["seed"]), escape(status), *cells, wall)
    out.print(table)


def print_groups(out: Console, verdict: Mapping[str, Any]) -> None:
    """The verdict of each group, and of each pair of groups."""
    for label, group in verdict["groups"].items():
        title = f"{label.upper()}: {group['completed']} of {group['runs']} runs completed, {group['word']}"
        rows = [row for row in group["verdicts"] if row["kind"] == "outcome" and row["axis_outcome"] != "not-attempted"]
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in ("outcome", "expected", "measured", "margin", "verdict"):
            table.add_column(column, overflow="fold")
        for row in rows:
            better = " (better)" if row["better_than_expected"] else ""
            cells = [row[name] or "-" for name in ("expected", "measured", "margin")]
            table.add_row(escape(row["claim"] or row["outcome"]), *cells, word(row["axis_outcome"]) + better)
        out.print(table)
        for row in rows:
            out.print(Padding(escape(f"{row['outcome']}: {row['reason']}"), (0, 0, 0, 2)), highlight=False)
        _axis(out, f"performance {group['performance']}: {group['performance_reason']}")
    for pair in verdict["between"]:
        _print_pair(out, pair)


def _print_pair(out: Console, pair: Mapping[str, Any]) -> None:
    title = f"{pair['second'].upper()} AGAINST {pair['first'].upper()}: {pair['word']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("outcome", pair["first"], pair["second"], "margin", "verdict"):
        table.add_column(column, overflow="fold")
    for row in pair["rows"]:
        cells = [row[name] or "-" for name in ("theirs", "here", "margin")]
        table.add_row(escape(row["outcome"]), *cells, word(row["word"]) + (" (better)" if row["better"] else ""))
    out.print(table)
    for row in pair["rows"]:
        out.print(Padding(escape(f"{row['outcome']}: {row['reason']}"), (0, 0, 0, 2)), highlight=False)
    _axis(out, f"performance {pair['performance']}: {pair['performance_reason']}")
    _axis(out, f"assurance {pair['assurance']}, {'signed' if pair['signed'] else 'unsigned'}")
    for caveat in pair["caveats"]:
        _axis(out, f"caveat: {caveat}")


def _axis(out: Console, text: str) -> None:
    out.print(Padding(escape(text), (0, 0, 0, 2)), highlight=False)


def _value(run: Run | None, name: str) -> str:
    row = run["outcomes"].get(name) if run is not None else None
    if row is None:
        return "-"
    return f"{row['value']['value']:.4g}" if row["status"] == "measured" else str(row["status"])


def _wall(run: Run) -> float:
    return float(sum(stage.get("usage", {}).get("wall_seconds") or 0.0 for stage in run["stages"].values()))
