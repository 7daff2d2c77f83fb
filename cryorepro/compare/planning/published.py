"""Stage times from published claims, and what in a published comparison can be checked and what cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from cryorepro.compare.claims_lint.rounding import Interval, interval
from cryorepro.em.errors import InputError
from cryorepro.model.claim import Claim
from cryorepro.model.hardware import Price
from cryorepro.model.machines import Machines
from cryorepro.model.stage_times import StageTime, StageTimes, TimesTable

WHOLE = "whole pipeline"
_DAY = re.compile(r"\b(20\d\d-\d\d-\d\d)\b")


@dataclass(frozen=True)
class CheckedTotal:
    """A published total of a rented machine: its time times the price of that day, against the printed cost."""

    time: Claim
    cost: Claim | None
    price: Price | None
    usd: float | None
    agrees: bool | None


def published_table(claims: Sequence[Claim], name: str) -> TimesTable:
    """What the claims say of whole runs on machines that can be rented; one stage, as no source splits such a run.

    Several times of one machine are several runs: the slowest counts, so that a plan does not promise the luckiest.

    Raises:
        InputError: the claims are about several pieces of work, or name no machine that can be rented.
    """
    runs = [claim for claim in _whole_runs(claims) if claim.instance and (claim.nodes or 1) == 1]
    workloads = {claim.workload for claim in runs}
    if not runs:
        raise InputError(
            f"no published time of '{name}' names a machine that can be rented; give times with --times or --from-run"
        )
    if len(workloads) > 1:
        raise InputError(f"'{name}' has published times of several workloads; name one: {', '.join(sorted(workloads))}")
    slowest = {(run.instance, run.gpus): run for run in sorted(runs, key=lambda run: run.value)}
    times = [
        StageTime(instance=run.instance or "", gpus=run.gpus or 0, seconds=run.value, source=run.id)
        for run in slowest.values()
    ]
    return TimesTable(
        schema_version=1,
        title=f"published totals of {workloads.pop()}",
        source="; ".join(dict.fromkeys(run.source for run in runs)),
        stages=[StageTimes(name=WHOLE, times=times)],
    )


def check_totals(claims: Sequence[Claim], machines: Machines) -> list[CheckedTotal]:
    """Every published total, its machine's price nearest to the day the source names, and whether they agree."""
    costs = {claim.run: claim for claim in claims if claim.quantity == "cost" and claim.run}
    return [_check(run, costs.get(run.run or ""), machines) for run in _whole_runs(claims)]


def _whole_runs(claims: Iterable[Claim]) -> list[Claim]:
    return [
        claim
        for claim in claims
        if claim.quantity == "wall_time" and claim.step is None and claim.unit == "seconds" and claim.system
    ]


def _check(run: Claim, cost: Claim | None, machines: Machines) -> CheckedTotal:
    instance = machines.instances.get(run.instance or "")
    day = source_day(run)
    price = instance.price_on(day) if instance and day else None
    if price is None:
        return CheckedTotal(run, cost, None, None, None)
    nodes = run.nodes or 1
    usd = price.usd_per_hour * run.value / 3600 * nodes
    if cost is None:
        return CheckedTotal(run, None, price, usd, None)
    times = interval(run)
    reach = Interval(times.low, times.high).scaled(price.usd_per_hour * nodes / 3600)
    return CheckedTotal(run, cost, price, usd, reach.overlaps(interval(cost)))


def source_day(claim: Claim) -> date | None:
    """The day a source names of itself, as in "version 1.0, 2021-05-10"."""
    found = _DAY.search(claim.source)
    return date.fromisoformat(found.group(1)) if found else None


def useful_gpus(claims: Iterable[Claim]) -> dict[str, int]:
    """The number of GPUs up to which each step is published to scale."""
    return {claim.step: int(claim.value) for claim in claims if claim.quantity == "useful_gpus" and claim.step}


def spot_prices(claims: Mapping[str, Claim]) -> dict[str, float]:
    """Published spot prices by instance, USD/h; the highest where several were seen."""
    found: dict[str, float] = {}
    for claim in claims.values():
        if claim.quantity == "spot_price" and claim.instance and claim.unit == "USD/h":
            found[claim.instance] = max(claim.value, found.get(claim.instance, 0.0))
    return found
