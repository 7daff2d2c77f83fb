"""``cryorepro plan``: which rented machine for which stage, and what it costs."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cryorepro.em.errors import InputError

if TYPE_CHECKING:
    from cryorepro.compare.planning.answer import Answer
    from cryorepro.compare.planning.spot import Interruptions
    from cryorepro.model.claim import Claim
    from cryorepro.model.machines import Machines
    from cryorepro.model.stage_times import TimesTable


def plan_command(
    benchmark: Annotated[str, typer.Argument(help="A benchmark, a data set or a workload.", metavar="BENCHMARK")],
    objective: Annotated[Literal["cost", "time"], typer.Option(help="The cheapest plan, or the fastest.")] = "cost",
    deadline: Annotated[str | None, typer.Option(help="Time allowed: 4h, 90min, 2h30m.")] = None,
    budget: Annotated[float | None, typer.Option(help="Money allowed, USD.", min=0.01)] = None,
    times: Annotated[Path | None, typer.Option(help="A table of stage times (YAML).")] = None,
    from_run: Annotated[list[str] | None, typer.Option(help="RUN=INSTANCE: stage times of a run, repeatable.")] = None,
    prices_on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Prices seen nearest to this day; today.")
    ] = None,
    region: Annotated[str, typer.Option(help="Region of on-demand prices.")] = "us-east-1",
    spot: Annotated[bool, typer.Option("--spot", help="Offer spot machines too, at published spot prices.")] = False,
    spot_price: Annotated[list[str] | None, typer.Option(help="INSTANCE=USD an hour, repeatable.")] = None,
    interruptions: Annotated[
        float, typer.Option(help="Interruptions of a spot machine an hour.", min=0, max=60)
    ] = 0.05,
    checkpoint: Annotated[str | None, typer.Option(help="Work between checkpoints: 30min. None: none is kept.")] = None,
    restart: Annotated[str, typer.Option(help="From an interruption until work goes on.")] = "10min",
    boot: Annotated[str | None, typer.Option(help="Time to start a machine, paid for: 10min.")] = None,
    storage: Annotated[str | None, typer.Option(help="Storage of the registry, as ebs-gp3.")] = None,
    storage_gb: Annotated[float, typer.Option(help="Its size in GB.", min=0)] = 0.0,
    plot: Annotated[Path | None, typer.Option(help="Draw the front: .svg, .png or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Which machine for which stage: the cheapest or fastest plan, and all that nothing beats.

    Exit code 1 when no plan keeps the deadline and the budget.
    """
    from cryorepro.cli.quantities import amounts, hours
    from cryorepro.compare.planning.answer import answer
    from cryorepro.compare.planning.build import Settings
    from cryorepro.compare.planning.published import spot_prices
    from cryorepro.model.machines import load_machines
    from cryorepro.model.registry import load_claims

    claims, machines = load_claims(), load_machines()
    chosen = [claim for claim in claims.values() if benchmark in (claim.dataset, claim.workload)]
    settings = Settings(
        day=prices_on.date() if prices_on else date.today(),
        region=region,
        spot_usd_per_hour=(spot_prices(claims) if spot else {}) | amounts(spot_price or [], "--spot-price"),
        interruptions=_interruptions(interruptions, checkpoint, restart),
        boot_hours=hours(boot, "--boot") if boot else 0.0,
        storage=storage,
        storage_gb=storage_gb,
    )
    table = _table(benchmark, chosen, machines, times, from_run or [])
    limit = hours(deadline, "--deadline") if deadline else None
    result = answer(table, machines, settings, objective, limit, budget, chosen, benchmark)
    _show(result, plot, as_json)
    raise typer.Exit(0 if result.plan else 1)


def _interruptions(per_hour: float, checkpoint: str | None, restart: str) -> Interruptions:
    from cryorepro.cli.quantities import hours
    from cryorepro.compare.planning.spot import Interruptions

    every = hours(checkpoint, "--checkpoint") if checkpoint else None
    return Interruptions(per_hour, every, restart_hours=hours(restart, "--restart"))


def _show(result: Answer, plot: Path | None, as_json: bool) -> None:
    from cryorepro.cli.plan_tables import plan_record, print_answer

    if plot is not None:
        from cryorepro.report.plan_plot import plot_front

        plot_front(result, plot)
    if as_json:
        typer.echo(json.dumps(plan_record(result), indent=1))
    else:
        print_answer(result)


def _table(benchmark: str, claims: list[Claim], machines: Machines, times: Path | None, runs: list[str]) -> TimesTable:
    from cryorepro.cli.quantities import pairs
    from cryorepro.compare.planning.published import published_table

    if times is not None and runs:
        raise InputError("give either --times or --from-run")
    if times is not None:
        from cryorepro.model.stage_times import TimesTable
        from cryorepro.model.strict_yaml import load_record

        return load_record(times, TimesTable)
    if runs:
        from cryorepro.compare.planning.measured import measured_table
        from cryorepro.store.home import Home
        from cryorepro.workflow.record import run_record

        home = Home.locate()
        records = [(instance, run_record(home.find_run(run))) for run, instance in pairs(runs, "--from-run")]
        return measured_table(records, machines, benchmark)
    if not claims:
        raise InputError(f"nothing is published about '{benchmark}'; give stage times with --times or --from-run")
    return published_table(claims, benchmark)
