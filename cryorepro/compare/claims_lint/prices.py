"""Rule: the cost of a run on a rented machine is its time multiplied by a price that this machine had."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.finding import Finding, Record
from cryorepro.compare.claims_lint.rounding import Interval, interval
from cryorepro.model.claim import Claim


def check_prices(record: Record) -> Iterator[Finding]:
    """Costs that no on-demand price of the registry explains; those that name their terms are arithmetic."""
    for cost in record.claims.values():
        instance = record.machines.instances.get(cost.instance or "")
        if cost.quantity != "cost" or cost.derived is not None or instance is None or not instance.prices:
            continue
        for time in record.by_run.get(cost.run or "", []):
            if time.quantity != "wall_time" or time.step is not None or time.unit != "seconds":
                continue
            implied = _implied(cost, time)
            if not any(implied.low <= price.usd_per_hour <= implied.high for price in instance.prices):
                known = ", ".join(f"{price.usd_per_hour:g} ({price.seen_from})" for price in instance.prices)
                yield Finding(
                    "prices",
                    (cost.id, time.id),
                    f"implies {implied.low:.2f} to {implied.high:.2f} USD/h for {instance.name}; seen: {known}",
                )


def _implied(cost: Claim, time: Claim) -> Interval:
    money, seconds = interval(cost), interval(time)
    nodes = cost.nodes or 1
    return Interval(money.low / seconds.high, money.high / seconds.low).scaled(3600 / nodes)
