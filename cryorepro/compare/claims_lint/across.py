"""Rule: two sites with the same cards take about the same time for the same work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from cryorepro.compare.claims_lint.finding import Finding, Record, grouped, minutes
from cryorepro.model.claim import Claim

# Releases of RELION, hosts and variants of a card differ by less than a factor of two on one job in the record.
RATIO = 2.0


def check_across(record: Record) -> Iterator[Finding]:
    """Pairs of published times for one workload on equally many of the same GPUs that differ by more than twice."""
    for same in grouped(record.times, _cards).values():
        for first, second in combinations(same, 2):
            if first.system == second.system:
                continue
            long, short = sorted((first, second), key=lambda claim: -claim.value)
            if long.value > RATIO * short.value > 0:
                yield Finding(
                    "across",
                    (short.id, long.id),
                    f"{minutes(short.value)} ({short.system}) and {minutes(long.value)} ({long.system}) for the same "
                    f"work on {short.gpus} x {short.gpu}",
                )


def _cards(claim: Claim) -> tuple[Any, ...] | None:
    if not claim.gpus or claim.gpu is None or claim.system is None:
        return None
    return claim.workload, claim.step, claim.gpu, claim.gpus
