"""Rule: the number that was carried over is the one that is printed, and the print has the form of its column."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.finding import Finding, Record
from cryorepro.compare.claims_lint.rounding import read_print


def check_printed(record: Record) -> Iterator[Finding]:
    """Claims whose ``printed`` cannot be read, is malformed, or is another number than ``value``."""
    for claim in record.claims.values():
        if claim.printed is None:
            continue
        printed = read_print(claim.printed)
        if printed is None:
            yield Finding("printed", (claim.id,), f"'{claim.printed}' is not a form of figure that is known here")
        elif printed.malformed:
            yield Finding(
                "printed",
                (claim.id,),
                f"'{claim.printed}' is not hours and minutes; read as {claim.value:g} {claim.unit}",
            )
        elif abs(printed.value - claim.value) > 1e-9 * abs(claim.value):
            yield Finding(
                "printed", (claim.id,), f"'{claim.printed}' is {printed.value:g} {claim.unit}, not {claim.value:g}"
            )
