"""Rule: a resolution is a Fourier shell of its box: box times pixel size, divided by a whole number.

RELION reports the resolution of the last shell that counts, so nothing between two shells can be right. The pixel size
is itself printed with few digits, and at high shells that leaves room for every value; such a claim is not objected to.
Programs that interpolate the FSC curve between shells must not be given a box and pixel size in the registry.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from cryorepro.compare.claims_lint.finding import Finding, Record
from cryorepro.compare.claims_lint.rounding import Interval, half_unit, interval
from cryorepro.model.claim import Claim

# A number in a file loses its trailing zeros; nobody gives a pixel size with fewer than two decimals.
PIXEL_SIZE_HALF_UNIT = 0.005


def check_shells(record: Record) -> Iterator[Finding]:
    """Resolutions between two shells, beyond Nyquist, or on another shell than the claim says."""
    for claim in record.claims.values():
        if claim.box_px is None or claim.pixel_size_angstrom is None or claim.unit != "angstrom":
            continue
        allowed = possible_shells(claim)
        size = claim.box_px * claim.pixel_size_angstrom
        if not allowed:
            below = int(size / claim.value)
            near = f"shell {below} is {size / below:.4f} A, " if below else ""
            yield Finding(
                "shells",
                (claim.id,),
                f"{claim.value:g} A is no shell of {claim.box_px} px at {claim.pixel_size_angstrom:g} A: "
                f"{near}shell {below + 1} is {size / (below + 1):.4f} A",
            )
        elif claim.shell is not None and claim.shell not in allowed:
            yield Finding(
                "shells", (claim.id,), f"{claim.value:g} A of {size:g} A is shell {allowed[0]}, not {claim.shell}"
            )
        elif allowed[0] > claim.box_px // 2:
            yield Finding(
                "shells", (claim.id,), f"{claim.value:g} A is beyond Nyquist, {2 * claim.pixel_size_angstrom:g} A"
            )


def possible_shells(claim: Claim) -> range:
    """The shells a claim's resolution can stand for; its box and pixel size must be given."""
    assert claim.box_px is not None and claim.pixel_size_angstrom is not None
    half = min(half_unit(claim.pixel_size_angstrom), PIXEL_SIZE_HALF_UNIT)
    size = Interval(claim.pixel_size_angstrom - half, claim.pixel_size_angstrom + half).scaled(claim.box_px)
    resolution = interval(claim)
    if resolution.low <= 0:
        return range(1, claim.box_px)
    return range(ceil(size.low / resolution.high - 1e-9), int(size.high / resolution.low + 1e-9) + 1)
