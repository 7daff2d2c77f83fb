"""Rule: runs that must differ in the last digits do not all print the same ones.

Time, angles and B-factors are continuous: two programs on two machines do not agree to four digits. When nearly every
run of a stage prints the same, the figure was read from a file that no run wrote. Resolutions are shells and may agree;
they are doubted only together with the other figures of their step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

from cryorepro.compare.claims_lint.finding import Finding, Record, grouped
from cryorepro.model.claim import Claim

CONTINUOUS = {
    "sharpening_bfactor", "mask_fraction", "accuracy_rotation", "accuracy_translation", "beam_tilt_x", "beam_tilt_y",
    "gpu_utilisation", "class_occupancy", "cost", "cpu_hours",
}  # fmt: skip
SHELLS = {
    "class2d_resolution",
    "class3d_resolution",
    "refine3d_resolution",
    "postprocess_resolution",
    "final_resolution",
}
MINIMUM_DIGITS = 4
MINIMUM_RUNS = 3
SHARE = 0.8
TIME_DIGITS = 5


def check_identical(record: Record) -> Iterator[Finding]:
    """Continuous figures that most runs of a stage share to the last digit, and times that two runs share."""
    yield from _stale(record)
    for same in grouped(record.times, _time).values():
        if len({claim.run for claim in same}) > 1:
            yield Finding("identical", tuple(claim.id for claim in same), f"{same[0].value:g} s in {len(same)} runs")


def _stale(record: Record) -> Iterator[Finding]:
    for stage, claims in grouped(record.claims.values(), _stage).items():
        copied: dict[str, list[Claim]] = {}
        for quantity, same in grouped(claims, lambda claim: claim.quantity).items():
            if quantity in CONTINUOUS and (shared := _shared(same)):
                copied[quantity] = shared
        if not copied:
            continue
        runs = {claim.run for same in copied.values() for claim in same}
        for quantity in sorted({claim.quantity for claim in claims} & SHELLS):
            copied[quantity] = _shared([claim for claim in claims if claim.quantity == quantity and claim.run in runs])
        for quantity, same in copied.items():
            if same:
                yield _finding(stage[2] or "the run", quantity, same)


def _finding(step: str, quantity: str, same: list[Claim]) -> Finding:
    systems = len({claim.system for claim in same})
    return Finding(
        "identical",
        tuple(claim.id for claim in same),
        f"{same[0].value!r} {same[0].unit} as the {quantity.replace('_', ' ')} of {step} in {len(same)} runs on "
        f"{systems} machine{'s' if systems > 1 else ''}, to the last digit",
    )


def _shared(claims: list[Claim]) -> list[Claim]:
    """The claims that print the commonest value, when that is nearly all of them and they are different runs."""
    values = Counter(claim.value for claim in claims if digits(claim.value) >= MINIMUM_DIGITS)
    if not values:
        return []
    value, _ = values.most_common(1)[0]
    same = [claim for claim in claims if claim.value == value]
    enough = len({claim.run for claim in same}) >= MINIMUM_RUNS and len(same) >= SHARE * len(claims)
    return same if enough else []


def _stage(claim: Claim) -> tuple[str, str, str | None] | None:
    known = claim.run is not None and (claim.quantity in CONTINUOUS or claim.quantity in SHELLS)
    return (claim.dataset, claim.workload, claim.step) if known else None


def _time(claim: Claim) -> tuple[str, str | None, float] | None:
    return (claim.dataset, claim.step, claim.value) if claim.run and digits(claim.value) >= TIME_DIGITS else None


def digits(value: float) -> int:
    """Significant digits that ``value`` needs."""
    return len(Decimal(repr(value)).normalize().as_tuple().digits)
