"""Rule: runs of one thing on one machine in one way take about the same time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryorepro.compare.claims_lint.finding import Finding, Record, about, devices, grouped, minutes
from cryorepro.compare.claims_lint.too_short import split, stage
from cryorepro.model.claim import Claim

# Repeats in the record that nobody doubts lie within 8 %; three times that is more than a busy filesystem explains.
RATIO = 1.25
# Steps of less than a minute differ for reasons that say nothing about the work.
SECONDS = 60.0


def check_repeats(record: Record) -> Iterator[Finding]:
    """Shortest and longest of identical runs that differ by more than a quarter; too short ones are left out."""
    whole = [claim for same in grouped(record.times, stage).values() for claim in split(same)[1]]
    for same in grouped(whole, _configuration).values():
        short, long = min(same, key=_order), max(same, key=_order)
        if short.run == long.run or long.value < SECONDS or short.value <= 0:
            continue
        if long.value / short.value > RATIO:
            yield Finding(
                "repeats",
                (short.id, long.id),
                f"{minutes(short.value)} and {minutes(long.value)} for {about(short)}, set up alike",
            )


def _order(claim: Claim) -> tuple[float, str]:
    return claim.value, claim.id


def _configuration(claim: Claim) -> tuple[Any, ...] | None:
    if claim.run is None or claim.system is None or devices(claim) is None:
        return None
    return (
        claim.workload, claim.step, claim.system, claim.software, claim.command, claim.gpus, claim.nodes, claim.ranks,
        claim.threads, claim.gpu, claim.instance,
    )  # fmt: skip
