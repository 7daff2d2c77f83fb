"""Rule: one machine is faster than another by about the same factor in every stage.

Machines are compared in pairs, over the stages they ran in the same way (the same run-time options, as many nodes or
GPUs). A stage whose ratio is more than twice, or less than half, the median ratio of the pair did other work on one of
the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from statistics import median
from typing import Any

from cryorepro.compare.claims_lint.commands import runtime_options
from cryorepro.compare.claims_lint.finding import Finding, Record, devices, grouped, minutes
from cryorepro.compare.claims_lint.too_short import split, stage
from cryorepro.model.claim import Claim

RATIO = 2.0
MINIMUM_STAGES = 4


def check_profile(record: Record) -> Iterator[Finding]:
    """Stages in which two machines differ by far more than in the others."""
    whole = [claim for claim in record.times if claim.step is None]
    sound = [claim for same in grouped(whole, stage).values() for claim in split(same)[1]]
    for same in grouped(sound, _way).values():
        machines = grouped(same, lambda claim: claim.system)
        busy = sorted(name for name, claims in machines.items() if len(claims) >= MINIMUM_STAGES)
        for first, second in combinations(busy, 2):
            yield from _pair(machines[first], machines[second])


def _pair(first: list[Claim], second: list[Claim]) -> Iterator[Finding]:
    ours = {claim.workload: claim for claim in first}
    theirs = {claim.workload: claim for claim in second}
    ratios = {key: ours[key].value / theirs[key].value for key in ours if key in theirs}
    if len(ratios) < MINIMUM_STAGES:
        return
    usual = median(ratios.values())
    for key, ratio in ratios.items():
        if max(ratio / usual, usual / ratio) > RATIO:
            one, other = ours[key], theirs[key]
            yield Finding(
                "profile",
                (one.id, other.id),
                f"{minutes(one.value)} on {one.system} and {minutes(other.value)} on {other.system}: a ratio of "
                f"{ratio:.2f}, where {usual:.2f} is usual over their {len(ratios)} stages",
            )


def _way(claim: Claim) -> tuple[Any, ...] | None:
    count = devices(claim)
    if count is None or claim.command is None:
        return None
    return claim.dataset, bool(claim.gpus), count, runtime_options(claim.command)
