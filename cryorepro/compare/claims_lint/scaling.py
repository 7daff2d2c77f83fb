"""Rule: twice the devices do not make a run more than twice as fast, but for what caches can explain."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.finding import Finding, Record, devices, grouped, minutes
from cryorepro.compare.claims_lint.too_short import split, stage
from cryorepro.model.claim import Claim

# Runs of the record that nobody doubts exceed linear scaling by up to 1.4 (a data set that begins to fit into memory).
EXCESS = 1.5


def check_scaling(record: Record) -> Iterator[Finding]:
    """Runs faster than a smaller one by more than the ratio of their devices; too short ones are left out."""
    for same in grouped(record.times, stage).values():
        _, sound = split(same)
        for configuration in grouped(sound, lambda claim: (claim.command, claim.gpu)).values():
            for large in configuration:
                yield from _worst(large, configuration)


def _worst(large: Claim, claims: list[Claim]) -> Iterator[Finding]:
    """The smaller run by which ``large`` looks fastest, when that is too fast."""
    many = devices(large) or 0
    smaller = [claim for claim in claims if 0 < (devices(claim) or 0) < many]
    if not smaller or large.value <= 0:
        return
    small = max(smaller, key=lambda claim: claim.value * (devices(claim) or 0))
    few, speedup = devices(small) or 1, small.value / large.value
    if speedup > EXCESS * many / few:
        yield Finding(
            "scaling",
            (large.id, small.id),
            f"{minutes(large.value)} on {many} is {speedup:.1f} times as fast as {minutes(small.value)} on {few} "
            f"({large.system}, {large.step or 'whole run'})",
        )
