"""Rule: two figures for one quantity of one run agree within their rounding."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from cryorepro.compare.claims_lint.finding import Finding, Record, grouped
from cryorepro.compare.claims_lint.rounding import interval
from cryorepro.model.claim import Claim


def check_conflict(record: Record) -> Iterator[Finding]:
    """Pairs of claims about one run that cannot both be right."""
    for same in grouped(record.claims.values(), _figure).values():
        for first, second in combinations(same, 2):
            if not interval(first).overlaps(interval(second)):
                yield Finding(
                    "conflict",
                    (first.id, second.id),
                    f"{_figure_text(first)} and {_figure_text(second)} are both given as the "
                    f"{first.quantity.replace('_', ' ')} of one run",
                )


def _figure(claim: Claim) -> tuple[str, str, str | None, str] | None:
    return (claim.run, claim.quantity, claim.step, claim.unit) if claim.run else None


def _figure_text(claim: Claim) -> str:
    return claim.printed or f"{claim.value:g} {claim.unit}"
