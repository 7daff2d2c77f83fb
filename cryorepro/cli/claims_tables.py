"""Claims, contradictions and published runs for a person and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from cryorepro.compare.claims_lint.check import Report
from cryorepro.compare.claims_lint.finding import Finding
from cryorepro.compare.claims_table import PublishedRun
from cryorepro.compare.judge import claim_value
from cryorepro.model.claim import Claim
from cryorepro.model.workload import Gap, Workload

SOURCES_SHOWN = 2


def print_claims(claims: Iterable[Claim]) -> None:
    """One line for each claim."""
    table = Table("claim", "quantity", "value", "hardware", "software", "quality", box=None, pad_edge=False)
    for claim in claims:
        quantity = claim.quantity + (f" of {claim.step}" if claim.step else "")
        cells = (claim.id, quantity, claim_value(claim), claim.hardware, claim.software, claim.quality)
        table.add_row(*map(escape, cells))
    Console().print(table)


def print_claim(claim: Claim, findings: Sequence[Finding], claims: Mapping[str, Claim]) -> None:
    """Every field that is given, and the contradictions the claim is part of."""
    out = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in claim.model_dump(mode="json", exclude_defaults=True).items():
        table.add_row(name.replace("_", " "), escape("; ".join(value) if isinstance(value, list) else str(value)))
    out.print(table)
    for finding in findings:
        _print_finding(out, finding, claims)


def print_report(report: Report, claims: Mapping[str, Claim]) -> None:
    """Every contradiction with its sources, by rule, and what could not be checked."""
    out = Console()
    for finding in report.findings:
        _print_finding(out, finding, claims)
        if finding in report.unacknowledged:
            out.print("    nobody noted this on a claim yet", style="bold red")
    out.print(
        f"{report.claims:,} claims, {len(report.findings)} contradictions, {len(report.unacknowledged)} not noted yet; "
        f"{len(report.unchecked)} figures were worked out from terms that are not printed: "
        f"{', '.join(report.unchecked) or 'none'}",
        highlight=False,
    )


def _print_finding(out: Console, finding: Finding, claims: Mapping[str, Claim]) -> None:
    out.print(f"[bold]{finding.rule}[/bold]: {escape(finding.message)}", highlight=False)
    for name in finding.claims[:SOURCES_SHOWN]:
        claim = claims[name]
        text = f"{name}: {claim.printed or claim_value(claim)}; {claim.source}, {claim.locator}"
        out.print(Padding(escape(text), (0, 0, 0, 4)), highlight=False, style="dim")
    more = len(finding.claims) - SOURCES_SHOWN
    if more > 0:
        out.print(Padding(f"and {more} more", (0, 0, 0, 4)), style="dim", highlight=False)


def finding_record(finding: Finding, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """A contradiction as JSON, its claims with their sources."""
    fields = {"id", "value", "unit", "printed", "source", "locator"}
    involved = [claims[name].model_dump(mode="json", include=fields) for name in finding.claims]
    return {"rule": finding.rule, "message": finding.message, "claims": involved}


def report_record(report: Report, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """The whole report as JSON."""
    found = [
        finding_record(finding, claims) | {"noted": finding not in report.unacknowledged} for finding in report.findings
    ]
    return {"claims": report.claims, "findings": found, "unchecked": report.unchecked}


def print_runs(
    runs: Mapping[str, Sequence[PublishedRun]], workloads: Mapping[str, Workload], gaps: Sequence[Gap]
) -> None:
    """One table for each workload, then what no source gives."""
    out = Console()
    for key, rows in runs.items():
        title = workloads[key].title if key in workloads else key
        table = Table(
            "time", "hardware", "software", "resolution", "cost", "doubts", "claim", box=None, pad_edge=False,
            title=escape(f"{key}: {title}"), title_justify="left",
        )  # fmt: skip
        for row in rows:
            cells = [
                row.time.printed or _hours(row.time.value), row.time.hardware, row.time.software,
                claim_value(row.resolution) if row.resolution else "-", claim_value(row.cost) if row.cost else "-",
                ", ".join(row.doubts) or "-", row.time.id,
            ]  # fmt: skip
            table.add_row(*map(escape, cells))
        out.print(table)
    for gap in gaps:
        out.print(f"not read: {gap.what} ({gap.source}): {gap.why}", markup=False, highlight=False)


def runs_record(runs: Mapping[str, Sequence[PublishedRun]]) -> dict[str, Any]:
    """The published runs as JSON."""
    return {
        key: [
            {
                "time": row.time.model_dump(mode="json", exclude_defaults=True),
                "resolution": row.resolution and row.resolution.model_dump(mode="json", exclude_defaults=True),
                "cost": row.cost and row.cost.model_dump(mode="json", exclude_defaults=True),
                "doubts": list(row.doubts),
            }
            for row in rows
        ]
        for key, rows in runs.items()
    }


def _hours(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"
