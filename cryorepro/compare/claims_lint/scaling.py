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
            yield from _excesses(configuration)


def _excesses(claims: list[Claim]) -> Iterator[Finding]:
    """Each run against the smaller one beside which it looks fastest: the one that did the most work."""
    small: Claim | None = None
    counts = grouped(claims, lambda claim: devices(claim) or None)
    for many in sorted(counts):
        for large in counts[many]:
            if small is not None and _work(small) > EXCESS * _work(large) > 0:
                few, speedup = devices(small), small.value / large.value
                yield Finding(
                    "scaling",
                    (large.id, small.id),
                    f"{minutes(large.value)} on {many} is {speedup:.1f} times as fast as {minutes(small.value)} on "
                    f"{few} ({large.system}, {large.step or 'whole run'})",
                )
        small = max([*counts[many], *([small] if small else [])], key=lambda claim: (_work(claim), claim.id))


def _work(claim: Claim) -> float:
    return claim.value * (devices(claim) or 0)
