"""``cryorepro claims``: what was published, and where the published record contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cryorepro.em.errors import InputError

claims_app = typer.Typer(help="Published figures, and a lint for them.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Benchmark = Annotated[str, typer.Argument(help="A data set or a workload.", metavar="BENCHMARK")]
Only = Annotated[str | None, typer.Argument(help="Only this data set or workload.", metavar="BENCHMARK")]


@claims_app.command("list")
def list_command(
    benchmark: Annotated[
        str | None, typer.Argument(help="Only this data set or workload.", metavar="BENCHMARK")
    ] = None,
    quantity: Annotated[str | None, typer.Option(help="Only this quantity, as wall_time.")] = None,
    as_json: Json = False,
) -> None:
    """The claims of the registry."""
    from cryorepro.cli.claims_tables import print_claims
    from cryorepro.compare.claims_table import select
    from cryorepro.model.registry import load_claims

    claims = load_claims()
    chosen = select(claims, benchmark) if benchmark else list(claims.values())
    chosen = [claim for claim in chosen if quantity in (None, claim.quantity)]
    if as_json:
        typer.echo(json.dumps([claim.model_dump(mode="json", exclude_defaults=True) for claim in chosen], indent=1))
    else:
        print_claims(chosen)


@claims_app.command("show")
def show_command(name: Annotated[str, typer.Argument(help="A claim's id.")], as_json: Json = False) -> None:
    """One claim with its conditions and source, and every contradiction it is part of."""
    from cryorepro.cli.claims_tables import finding_record, print_claim
    from cryorepro.compare.claims_lint.check import check_claims, shipped_record

    record = shipped_record()
    if name not in record.claims:
        raise InputError(f"no claim is called '{name}'; 'cryorepro claims list' names them")
    claim = record.claims[name]
    findings = [finding for finding in check_claims(record).findings if name in finding.claims]
    if as_json:
        found = [finding_record(finding, record.claims) for finding in findings]
        typer.echo(json.dumps(claim.model_dump(mode="json", exclude_defaults=True) | {"findings": found}, indent=1))
    else:
        print_claim(claim, findings, record.claims)


@claims_app.command("check")
def check_command(
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for noted contradictions too.")] = False,
    rule: Annotated[str | None, typer.Option(help="Only what this rule finds.")] = None,
    directory: Annotated[Path | None, typer.Option(help="A registry of your own, instead of the shipped one.")] = None,
    as_json: Json = False,
) -> None:
    """Where the published record contradicts itself, each with its sources.

    Exit code 1 when a contradiction is found that nobody noted on one of its claims, else 0.
    """
    from cryorepro.cli.claims_tables import print_report, report_record
    from cryorepro.compare.claims_lint.check import RULES, check_claims, shipped_record

    if rule is not None and rule not in RULES:
        raise InputError(f"no rule is called '{rule}'; rules: {', '.join(RULES)}")
    record = shipped_record(directory)
    report = check_claims(record).only(rule)
    if as_json:
        typer.echo(json.dumps(report_record(report, record.claims), indent=1))
    else:
        print_report(report, record.claims)
    raise typer.Exit(1 if report.unacknowledged or (strict and report.findings) else 0)


@claims_app.command("table")
def table_command(benchmark: Benchmark, as_json: Json = False) -> None:
    """Published runs side by side: time, hardware, software, resolution, cost, doubts; and what no source gives."""
    from cryorepro.cli.claims_tables import print_runs, runs_record
    from cryorepro.compare.claims_lint.check import check_claims, shipped_record
    from cryorepro.compare.claims_table import published_runs, select
    from cryorepro.model.workload import load_gaps

    record = shipped_record()
    chosen = select(record.claims, benchmark)
    runs = published_runs(chosen, check_claims(record).findings)
    if as_json:
        typer.echo(json.dumps(runs_record(runs), indent=1))
    else:
        print_runs(runs, record.workloads, [gap for gap in load_gaps().values() if gap.dataset == benchmark])


@claims_app.command("plot")
def plot_command(
    benchmark: Benchmark,
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .svg, .png or .pdf.")],
) -> None:
    """Draw published times against hardware."""
    from cryorepro.compare.claims_lint.check import check_claims, shipped_record
    from cryorepro.compare.claims_table import published_runs, select
    from cryorepro.report.claims_plot import plot_published_times

    record = shipped_record()
    runs = published_runs(select(record.claims, benchmark), check_claims(record).findings)
    plot_published_times(runs, record.workloads, benchmark, output)
    typer.echo(f"{output}: {sum(map(len, runs.values()))} published times of {len(runs)} workloads")
