"""The verdict block: a twin's check of itself kept apart from the published claims."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cryorepro.compare.verdict.words import axis_word

if TYPE_CHECKING:
    from cryorepro.compare.verdict.between import Between

_COLOUR = {
    "within-band-n1": "green", "equivalent": "green", "numerical": "green", "identical": "green",
    "not-attempted": "dim", "inconclusive": "yellow", "not-comparable": "yellow", "diverged": "red",
    "unverifiable": "red", "failed": "red",
}  # fmt: skip


def print_verdict(record: dict[str, Any], console: Console | None = None) -> None:
    """Print the verdicts of a run, what it took, and where it is."""
    out = console or Console()
    if record["status"] == "failed":
        _print_failure(out, record)
        return
    checks = [verdict for verdict in record["verdicts"] if verdict["self_check"]]
    claims = [verdict for verdict in record["verdicts"] if not verdict["self_check"]]
    if checks:
        tier = record["settings"]["tier"]
        title = "SELF-CHECK against the twin's own truth" if tier == "twin" else f"CHECK of this {tier}"
        out.print(_table(title, checks, "expected"))
    if claims:
        out.print(_table("PUBLISHED CLAIMS", claims, "published"))
        _print_needs(out, claims)
    _print_reasons(out, record["verdicts"])
    _print_other_axes(out, record["verdicts"])
    _print_end(out, record)


def print_axes(between: Between, out: Console) -> None:
    """The other two axes of a comparison, and what is to be said beside its verdict."""
    text = f"performance {between.performance}: {between.performance_reason}"
    signed = "signed" if between.signed else "unsigned"
    for line in (text, f"assurance {between.assurance}, {signed}", *(f"caveat: {text}" for text in between.caveats)):
        out.print(Padding(escape(line), (0, 0, 0, 2)), highlight=False)


def word(text: str) -> str:
    """A verdict's word in its colour."""
    return f"[{_COLOUR.get(text, 'white')}]{escape(text)}[/]"


def _table(title: str, verdicts: list[dict[str, Any]], label: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("claim" if verdicts[0]["claim"] else "outcome", label, "here", "margin", "verdict"):
        table.add_column(column, overflow="fold")
    for verdict in verdicts:
        name = verdict["claim"] or verdict["outcome"]
        table.add_row(
            escape(name), verdict["expected"] or "-", verdict["measured"] or "-", verdict["margin"] or "-",
            word(axis_word(verdict)) + (" (better)" if verdict["better_than_expected"] else ""),
        )  # fmt: skip
    return table


def _print_other_axes(out: Console, verdicts: list[dict[str, Any]]) -> None:
    from cryorepro.compare.judge import performance
    from cryorepro.model.outcome import Verdict

    if not verdicts:
        return
    time, why = performance([Verdict.model_validate(verdict) for verdict in verdicts])
    levels = dict.fromkeys(verdict["axis_assurance"] for verdict in verdicts if axis_word(verdict) != "not-attempted")
    level = ", ".join(levels) or "none: nothing was compared"
    text = f"performance {time} ({why.partition(';')[0]}); assurance {level}"
    out.print(Padding(escape(text), (0, 0, 0, 2)), highlight=False)


def _print_needs(out: Console, claims: list[dict[str, Any]]) -> None:
    open_claims = [claim for claim in claims if claim["axis_outcome"] == "not-attempted" and claim["needs"]]
    if open_claims:
        claim = open_claims[0]
        text = f"{claim['reason'].partition(';')[0]}; {claim['claim']} needs {claim['needs']}"
        out.print(Padding(escape(text), (0, 0, 0, 2)), highlight=False)


def _print_reasons(out: Console, verdicts: list[dict[str, Any]]) -> None:
    for verdict in verdicts:
        if verdict["axis_outcome"] in (
            "diverged",
            "unverifiable",
            "failed",
            "not-comparable",
            "inconclusive",
        ):
            out.print(f"  {verdict['outcome']}: {verdict['reason']}", markup=False, highlight=False)


def _print_failure(out: Console, record: dict[str, Any]) -> None:
    """One sentence on the error stream; nothing was measured that could be judged."""
    print(f"cryorepro: {record['reason']}", file=sys.stderr)
    out.print(
        f"run {record['run']} is recorded as failed; cryorepro show {record['run']}", markup=False, highlight=False
    )


def _print_end(out: Console, record: dict[str, Any]) -> None:
    if record["status"] == "interrupted":
        out.print(f"interrupted; go on with: cryorepro resume {record['run']}", markup=False, highlight=False)
        return
    attempts = len(record["attempts"])
    tail = f" over {attempts} attempts" if attempts > 1 else ""
    out.print(
        f"Verdict [bold]{word(record['verdict'])}[/bold]   {record['elapsed_seconds'] or 0:.0f} s{tail}   "
        f"run {escape(record['run'])}",
        highlight=False,
    )
