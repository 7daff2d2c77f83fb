"""Rule: two sites with the same cards take about the same time for the same work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryorepro.compare.claims_lint.finding import Finding, Record, grouped, minutes
from cryorepro.model.claim import Claim

# Releases of RELION, hosts and variants of a card differ by less than a factor of two on one job in the record.
RATIO = 2.0


def check_across(record: Record) -> Iterator[Finding]:
    """Times of one workload that take less than half of another site's time on equally many of the same GPUs."""
    for same in grouped(record.times, _cards).values():
        sites = grouped(same, lambda claim: claim.system).values()
        slowest = sorted((max(claims, key=_order) for claims in sites), key=_order, reverse=True)
        if len(slowest) < 2:
            continue
        for short in same:
            long = next(claim for claim in slowest if claim.system != short.system)
            if long.value > RATIO * short.value > 0:
                yield Finding(
                    "across",
                    (short.id, long.id),
                    f"{minutes(short.value)} ({short.system}) and {minutes(long.value)} ({long.system}) for the same "
                    f"work on {short.gpus} x {short.gpu}",
                )


def _order(claim: Claim) -> tuple[float, str]:
    return claim.value, claim.id


def _cards(claim: Claim) -> tuple[Any, ...] | None:
    if not claim.gpus or claim.gpu is None or claim.system is None:
        return None
    return claim.workload, claim.step, claim.gpu, claim.gpus
