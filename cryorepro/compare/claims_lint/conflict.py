"""Rule: two figures for one quantity of one run agree within their rounding."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cryorepro.compare.claims_lint.finding import Finding, Record, grouped
from cryorepro.compare.claims_lint.rounding import interval
from cryorepro.model.claim import Claim


def check_conflict(record: Record) -> Iterator[Finding]:
    """Claims about one run that cannot all be right, neighbours by value in pairs."""
    for same in grouped(record.claims.values(), _figure).values():
        ordered = sorted(same, key=lambda claim: (claim.value, claim.id))
        apart = [pair for pair in pairwise(ordered) if _disjoint(*pair)]
        if not apart and _disjoint(ordered[0], ordered[-1]):
            apart = [(ordered[0], ordered[-1])]
        for first, second in apart:
            yield Finding(
                "conflict",
                (first.id, second.id),
                f"{_figure_text(first)} and {_figure_text(second)} are both given as the "
                f"{first.quantity.replace('_', ' ')} of one run",
            )


def _disjoint(first: Claim, second: Claim) -> bool:
    return not interval(first).overlaps(interval(second))


def _figure(claim: Claim) -> tuple[str, str, str | None, str] | None:
    return (claim.run, claim.quantity, claim.step, claim.unit) if claim.run else None


def _figure_text(claim: Claim) -> str:
    return claim.printed or f"{claim.value:g} {claim.unit}"
