"""Rule: of two cards in one report, the one with more bandwidth and more arithmetic is not much slower."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryorepro.compare.claims_lint.finding import Finding, Record, grouped, minutes
from cryorepro.model.claim import Claim
from cryorepro.model.machines import Machines

RATIO = 1.5


def check_order(record: Record) -> Iterator[Finding]:
    """Times of one source and workload where the better card takes more than half as long again."""
    for same in grouped(record.times, _report).values():
        fastest = {
            gpu: min(claims, key=lambda claim: (claim.value, claim.id))
            for gpu, claims in grouped(same, lambda claim: claim.gpu).items()
        }
        worse = {gpu: [one for one in fastest if _better(record.machines, gpu, one)] for gpu in fastest}
        for slow in same:
            rivals = [fastest[gpu] for gpu in worse[slow.gpu]]
            fast = min(rivals, key=lambda claim: (claim.value, claim.id), default=None)
            if fast is not None and slow.value > RATIO * fast.value:
                yield Finding(
                    "order",
                    (slow.id, fast.id),
                    f"{minutes(slow.value)} on {slow.gpus} x {slow.gpu}, {minutes(fast.value)} on "
                    f"{fast.gpus} x {fast.gpu}, which has less bandwidth and less arithmetic",
                )


def _report(claim: Claim) -> tuple[Any, ...] | None:
    if claim.gpu is None or not claim.gpus:
        return None
    return claim.source, claim.workload, claim.software, claim.step, claim.gpus


def _better(machines: Machines, first: str | None, second: str | None) -> bool:
    """Whether every sound entry of the first family exceeds every one of the second in bandwidth and FP32."""
    if first is None or second is None or first == second:
        return False
    ours, theirs = machines.family(first), machines.family(second)
    if not ours or not theirs:
        return False
    return all(
        one.bandwidth_gb_per_s > other.bandwidth_gb_per_s and one.fp32_tflops > other.fp32_tflops
        for one in ours
        for other in theirs
    )
